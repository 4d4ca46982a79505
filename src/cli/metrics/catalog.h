#pragma once

#include <string_view>

#include "metrics/family.h"

namespace weir::cli {

/// Name, kind and help of a metric that docs/metrics.md lists. There has to be one of that name.
[[nodiscard]] const metrics::Metric& metric_named(std::string_view name);

}  // namespace weir::cli
