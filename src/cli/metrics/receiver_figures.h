#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "cli/runtime/progress.h"
#include "metrics/family.h"
#include "receive/status_board.h"

namespace weir::cli {

/// A receiver's metrics, from its board. Thread-safe; the board outlives it.
class ReceiverFigures {
 public:
  /// `archive` is the directory.
  ReceiverFigures(std::string archive, const receive::StatusBoard& board)
      : archive_(std::move(archive)), board_(board) {}

  [[nodiscard]] std::vector<metrics::Family> collect(bool up);

 private:
  const std::string archive_;
  const receive::StatusBoard& board_;
  std::mutex mutex_;  ///< the meter
  ProgressMeter meter_{std::chrono::seconds(60)};
};

}  // namespace weir::cli
