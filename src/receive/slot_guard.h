#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "base/log.h"
#include "pq/connection.h"
#include "pq/slot_view.h"
#include "receive/status_board.h"

namespace weir::receive {

using pq::SlotView;

struct SlotTrouble {
  enum class Kind { missing, invalidated, unreserved, running_out, inactive };
  Kind kind;
  std::string text;
};

/// What to tell the operator about it: nullopt while all is well. Pure.
/// `warn_below`: safe_wal_size under this is near the end.
[[nodiscard]] std::optional<SlotTrouble> slot_trouble(const std::string& slot, const SlotView& view,
                                                      std::int64_t warn_below);

/// Watches our slot over an ordinary connection and warns while there is time: the server gives up
/// a slot that holds back more than max_slot_wal_keep_size, and the WAL it held is gone. A thread
/// of its own; a connection that fails is tried again and never disturbs archiving.
class SlotGuard {
 public:
  SlotGuard(std::string conninfo, std::string slot, Log& log, StatusBoard& board);
  ~SlotGuard();

 private:
  void work();
  void look(pq::Connection& connection);
  void tell(const std::optional<SlotTrouble>& trouble);

  const std::string conninfo_;
  const std::string slot_;
  Log& log_;
  StatusBoard& board_;
  pq::Interrupt stop_;
  std::optional<SlotTrouble::Kind> told_;
  bool seen_inactive_ = false;  ///< at the last look
  std::thread thread_;
};

}  // namespace weir::receive
