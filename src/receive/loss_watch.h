#pragma once

#include <chrono>
#include <set>
#include <string>

#include "base/log.h"
#include "base/periodic_look.h"
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

 private:
  void look_at_records();
  void read_acknowledgements();

  io::Shelf& directory_;
  StatusBoard& board_;
  Log& log_;
  /// Ids of losses whose records were removed: the session may have read them before. For the
  /// thread only.
  std::set<std::string> removed_;
  PeriodicLook look_;
};

}  // namespace weir::receive
