#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/log.h"
#include "cli/progress.h"
#include "metrics/exporter.h"
#include "net/wake.h"
#include "receive/status_board.h"

namespace weir::cli {

/// Where a receiver's metrics go.
struct MetricsOptions {
  std::optional<std::string> file;             ///< for node_exporter's textfile collector
  std::optional<std::string> listen;           ///< "127.0.0.1:9187"
  std::chrono::milliseconds interval{15'000};  ///< between two versions of the file
};

/// Exports a receiver's metrics: reads the board from threads of its own, so that archiving does
/// not notice. Without options it has no thread. A file that cannot be written is told once and
/// tried again; it never stops the archiving.
class Reporter {
 public:
  /// `archive` is the directory; the board and the log outlive this. Throws Error{usage, retry} if
  /// it cannot listen, or the module for metrics is missing.
  Reporter(const MetricsOptions& options, std::string archive, const receive::StatusBoard& board,
           Log& log);
  /// Writes the file for the last time: the receiver is not up any more.
  ~Reporter();
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;

 private:
  void work();
  void write(bool up);
  std::vector<metrics::Family> collect(bool up);

  const MetricsOptions options_;
  const std::string archive_;
  const receive::StatusBoard& board_;
  Log& log_;
  std::mutex mutex_;  ///< the meter: file and listener may collect at once
  ProgressMeter meter_{std::chrono::seconds(60)};
  bool failed_ = false;
  std::optional<metrics::Server> server_;
  net::Wake end_;
  std::thread thread_;
};

}  // namespace weir::cli
