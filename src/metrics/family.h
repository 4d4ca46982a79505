#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::metrics {

/// A metric that pgweir exports. docs/metrics.md has the same list, and a test compares.
struct Metric {
  std::string_view name;
  bool counter = false;  ///< else a gauge
  std::string_view help;
};

/// A metric with values, as Prometheus has them.
struct Family {
  struct Sample {
    std::vector<std::pair<std::string, std::string>> labels;
    double value = 0;
  };
  Metric metric;
  std::vector<Sample> samples;
};

}  // namespace weir::metrics
