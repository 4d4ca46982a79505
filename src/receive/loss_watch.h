#pragma once

#include <chrono>
#include <thread>

#include "base/log.h"
#include "io/shelf.h"
#include "net/wake.h"
#include "receive/status_board.h"

namespace weir::receive {

/// Sees that somebody acknowledges a loss ("pgweir ack") while a receiver runs, so that its metrics
/// and its status say so. A thread of its own, which reads the small file of each loss that is open
/// on the board; made when there is one.
class LossWatch {
 public:
  LossWatch(io::Shelf& directory, StatusBoard& board, Log& log,
            std::chrono::milliseconds every = std::chrono::seconds(2));
  ~LossWatch();
  LossWatch(const LossWatch&) = delete;
  LossWatch& operator=(const LossWatch&) = delete;

 private:
  void work();
  void look();

  io::Shelf& directory_;
  StatusBoard& board_;
  Log& log_;
  const std::chrono::milliseconds every_;
  net::Wake stop_;
  std::thread thread_;
};

}  // namespace weir::receive
