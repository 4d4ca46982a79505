#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/serving_view.h"
#include "drill/report.h"
#include "metrics/family.h"
#include "receive/status_board.h"
#include "status/check.h"
#include "status/report.h"
#include "verify/report.h"

namespace weir::cli {

/// Every metric there is, in the order of docs/monitoring.md.
[[nodiscard]] std::span<const metrics::Metric> metric_list();

/// The label that every metric has: the directory's path without links, so that receiver, status
/// and verify agree however it was written.
[[nodiscard]] std::string archive_label(const std::string& directory);

using SystemTime = std::chrono::system_clock::time_point;

/// What a receiver exports beside what its board says.
struct ReceiverExtras {
  std::string archive;  ///< its directory
  bool up = true;       ///< false: the last words of one that ends
  std::optional<std::chrono::milliseconds> lag_time;
  std::optional<std::uint64_t> free_bytes;
  std::optional<std::uint64_t> size_bytes;
};
[[nodiscard]] std::vector<metrics::Family> receiver_metrics(const receive::StatusBoard::View& view,
                                                            const ReceiverExtras& extras,
                                                            SystemTime now);

/// Of `pgweir serve`. `up`: as in ReceiverExtras.
[[nodiscard]] std::vector<metrics::Family> serve_metrics(const archive::ServingView& view,
                                                         SystemTime started,
                                                         const std::string& archive, bool up,
                                                         SystemTime now);

[[nodiscard]] std::vector<metrics::Family> verify_metrics(const verify::Report& report,
                                                          const std::string& archive,
                                                          SystemTime now);

[[nodiscard]] std::vector<metrics::Family> drill_metrics(const drill::Report& report,
                                                         const std::string& archive,
                                                         SystemTime now);

[[nodiscard]] std::vector<metrics::Family> status_metrics(const status::StatusReport& report,
                                                          SystemTime now);

}  // namespace weir::cli
