#pragma once

#include "cli/arguments.h"
#include "cli/metrics/reporter.h"
#include "cli/options/common_options.h"
#include "metrics/exporter.h"

namespace weir::cli {

// Options of what runs long and exports metrics: `pgweir receive`, `pgweir serve`.

inline constexpr auto kTextfile = kMetricsFile.says(
    "write metrics to FILE, whose name must end in .prom, for node_exporter's textfile collector");
inline constexpr Relation kWithMetricsFile{.others = {{kMetricsFile}}};
inline constexpr auto kMetricsInterval = option_of<time_value<kSecond, kDay>>(
    "metrics-interval", "TIME",
    "interval between updates of that file (default: 15s); the alerts require 2min or less",
    {.needs = &kWithMetricsFile});
inline constexpr auto kMetricsListen = option_of<metrics::parse_listen_address>(
    "metrics-listen", "[ADDRESS:]PORT",
    "serve http://ADDRESS:PORT/metrics; without an address, on this host only");

[[nodiscard]] MetricsOptions read_metrics(const Arguments& arguments);

}  // namespace weir::cli
