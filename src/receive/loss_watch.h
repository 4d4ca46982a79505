#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>

#include "base/log.h"
#include "base/threads.h"
#include "io/shelf.h"
#include "receive/status_board.h"

namespace weir::receive {

/// Detects acknowledgments of losses ("pgweir ack") and filled holes ("pgweir import") while a
/// receiver runs, so that its metrics and its status are current. A thread of its own, which reads
/// the small files of each loss that is open on the board; started when there is one.
class LossWatch {
 public:
  LossWatch(io::Shelf& directory, Threads& threads, StatusBoard& board, Log& log,
            std::chrono::milliseconds every = std::chrono::seconds(2));
  ~LossWatch();
  LossWatch(const LossWatch&) = delete;
  LossWatch& operator=(const LossWatch&) = delete;

 private:
  void work();
  void look_at_records();
  void read_acknowledgements();

  io::Shelf& directory_;
  StatusBoard& board_;
  Log& log_;
  const std::chrono::milliseconds every_;
  Threads& threads_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> stopped_;
  bool stop_ = false;
  /// Ids of losses whose records were removed: the session may have read them before. For the
  /// thread only.
  std::set<std::string> removed_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
