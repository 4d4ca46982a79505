#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/periodic_look.h"
#include "net/wake.h"
#include "pq/slot_view.h"
#include "receive/machine.h"
#include "receive/server.h"
#include "receive/status_board.h"

namespace weir::receive {

using pq::SlotView;

struct SlotTrouble {
  enum class Kind { missing, invalidated, unreserved, running_out, inactive, unknown };
  Kind kind;
  std::string text;
};

/// A warning for the operator: nullopt if all is well. Pure. `warn_below`: a smaller safe_wal_size
/// is close to invalidation.
[[nodiscard]] std::optional<SlotTrouble> slot_trouble(const std::string& slot, const SlotView& view,
                                                      std::int64_t warn_below, int server_major);

/// Monitors our slot over an ordinary connection and warns in time: the server invalidates a slot
/// that retains more than max_slot_wal_keep_size, and its WAL is removed. A thread of its own; a
/// failed connection is retried and never disturbs archiving; if it fails for long, that is a
/// problem, too.
///
/// A slot that is still to be created is not an error: `expected` says whether it should exist. If
/// the connection string names several hosts, the slot of the server that streams is monitored:
/// those of the others are not in use.
class SlotGuard {
 public:
  /// `heard_names`: called with synchronous_standby_names at each check of a primary; may be empty.
  /// `why_held`: an addition to the warning that the slot retains much WAL; may be empty.
  SlotGuard(Servers& servers, Machine& machine, std::string conninfo, std::string slot,
            bool expected, Log& log, StatusBoard& board,
            std::function<void(const std::string& names)> heard_names = {},
            std::string why_held = {});
  ~SlotGuard() { stop_.raise(); }

  /// From now on the slot should exist (or no longer) on the server with this name
  /// (Server::name()). Checks at once: an outdated warning is withdrawn. Any thread, returns at
  /// once.
  void expect(bool expected, std::string server);

 private:
  [[nodiscard]] std::optional<Time> look();
  void check();
  void report(const std::optional<SlotTrouble>& trouble);
  void note_cut_off(const std::string& server, const std::optional<std::string>& at);

  Servers& servers_;
  Machine& machine_;
  const std::string conninfo_;
  const std::string slot_;
  Log& log_;
  StatusBoard& board_;
  const std::function<void(const std::string& names)> heard_names_;
  const std::string why_held_;
  net::Wake stop_;
  std::atomic<bool> expected_;
  std::mutex mutex_;
  std::string server_;  ///< guarded by it; empty: none has streamed yet
  std::optional<SlotTrouble::Kind> reported_;
  std::optional<Time> fails_since_;        ///< each check since has failed
  std::optional<Time> inactive_since_;     ///< not in use at any check since
  std::optional<std::string> cut_off_at_;  ///< as of the last check, of the next member's server
  std::string cut_off_server_;
  PeriodicLook look_;
};

}  // namespace weir::receive
