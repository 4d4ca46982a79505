#pragma once

#include <chrono>
#include <memory>

#include "base/log.h"
#include "base/threads.h"
#include "io/shelf.h"
#include "receive/status_board.h"

namespace weir::receive {

/// Sees that somebody acknowledges a loss ("pgweir ack") while a receiver runs, so that its metrics
/// and its status say so. A thread of its own, which reads the small file of each loss that is open
/// on the board; made when there is one.
class LossWatch {
 public:
  LossWatch(io::Shelf& directory, Threads& threads, StatusBoard& board, Log& log,
            std::chrono::milliseconds every = std::chrono::seconds(2));
  ~LossWatch();
  LossWatch(const LossWatch&) = delete;
  LossWatch& operator=(const LossWatch&) = delete;

 private:
  void work();
  void read_acknowledgements();

  io::Shelf& directory_;
  StatusBoard& board_;
  Log& log_;
  const std::chrono::milliseconds every_;
  Threads& threads_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> stopped_;
  bool stop_ = false;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
