#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "archive/serving_view.h"
#include "cli/runtime/progress.h"
#include "metrics/family.h"
#include "receive/status_board.h"

namespace weir::cli {

/// A receiver's metrics, from its view and its directory. Thread-safe; the board outlives it.
class ReceiverMetrics {
 public:
  /// `archive` is the directory.
  ReceiverMetrics(std::string archive, const receive::StatusBoard& board)
      : archive_(std::move(archive)), board_(board) {}

  /// `up` is false for the last time, when the receiver ends.
  [[nodiscard]] std::vector<metrics::Family> collect(bool up);

 private:
  const std::string archive_;
  const receive::StatusBoard& board_;
  std::mutex mutex_;  ///< the meter
  ProgressMeter meter_{std::chrono::seconds(60)};
};

/// Of `pgweir serve`. `up` as above.
[[nodiscard]] std::vector<metrics::Family> serve_metrics(const archive::Relay& relay,
                                                         const std::string& archive, bool up);

}  // namespace weir::cli
