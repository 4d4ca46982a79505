#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "backup/report.h"
#include "backup/standing.h"
#include "drill/report.h"
#include "metrics/family.h"
#include "status/findings.h"
#include "status/report.h"
#include "verify/report.h"

namespace weir::cli {

// What one run of a command found.

/// `sound`: also a comparison, and the manifests of a store, found nothing.
[[nodiscard]] std::vector<metrics::Family> verify_metrics(
    const verify::Report& report, bool sound, const std::string& archive,
    std::chrono::system_clock::time_point now);

[[nodiscard]] std::vector<metrics::Family> drill_metrics(const drill::Report& report,
                                                         const std::string& archive,
                                                         std::chrono::system_clock::time_point now);

/// `standing`: the backups that are there now, by their position.
[[nodiscard]] std::vector<metrics::Family> backup_metrics(
    const backup::Report& report, const std::vector<backup::Standing>& standing,
    const std::string& archive, std::chrono::system_clock::time_point now);

/// `limits`: those of the check.
[[nodiscard]] std::vector<metrics::Family> status_metrics(
    const status::StatusReport& report, const status::Limits& limits,
    std::chrono::system_clock::time_point now);

}  // namespace weir::cli
