#include "cli/options/metrics_options.h"

#include <fmt/format.h>

#include "base/error.h"

namespace weir::cli {

MetricsOptions read_metrics(const Arguments& arguments) {
  MetricsOptions metrics;
  metrics.file = arguments.get(kMetricsFile);
  metrics.listen = arguments.get(kMetricsListen);
  metrics.interval = arguments.get(kMetricsInterval, metrics.interval);
  if (arguments.has(kMetricsInterval) && !metrics.file)
    throw Error(ErrorKind::usage,
                fmt::format("{} needs --metrics-file", arguments.source(kMetricsInterval)));
  return metrics;
}

}  // namespace weir::cli
