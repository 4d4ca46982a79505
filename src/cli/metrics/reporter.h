#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/periodic_look.h"
#include "metrics/exporter.h"

namespace weir::cli {

/// Where the metrics of what runs long go.
struct MetricsOptions {
  std::optional<std::string> file;             ///< for node_exporter's textfile collector
  std::optional<std::string> listen;           ///< "127.0.0.1:9187"
  std::chrono::milliseconds interval{15'000};  ///< between two versions of the file
};

/// Exports metrics, by threads of its own, so that nothing else notices. Without options it has no
/// thread. A failure to write the file is logged once and retried; it never stops anything.
class Reporter {
 public:
  /// Called by those threads, perhaps by two at once. `up` is false once: the last words.
  using Collect = std::function<std::vector<metrics::Family>(bool up)>;
  /// The log outlives this. Throws Error{usage, retry} if it cannot listen, or the module for
  /// metrics is missing.
  Reporter(const MetricsOptions& options, Collect collect, Log& log);
  /// Writes the file for the last time.
  ~Reporter();
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;

 private:
  void write(bool up);

  const MetricsOptions options_;
  const Collect collect_;
  Log& log_;
  bool failed_ = false;
  std::unique_ptr<http::Server> server_;
  std::optional<PeriodicLook> file_;
};

}  // namespace weir::cli
