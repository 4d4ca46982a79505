#include "cli/options/metrics_options.h"

namespace weir::cli {

MetricsOptions read_metrics(const Arguments& arguments) {
  MetricsOptions metrics;
  metrics.file = arguments.get(kMetricsFile);
  metrics.listen = arguments.get(kMetricsListen);
  metrics.interval = arguments.get(kMetricsInterval, metrics.interval);
  return metrics;
}

}  // namespace weir::cli
