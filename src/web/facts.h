#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "status/check.h"
#include "status/report.h"
#include "web/history.h"

namespace weir::web {

/// All that a page shows. A value; the page is made from it alone.
struct Facts {
  /// With the receiver's current report, which may be newer than the listing of the directory.
  status::StatusReport report;
  status::Verdict verdict;
  std::optional<History> history{};  ///< nullopt: none was recorded
  SystemTime now;
  SystemTime looked;  ///< time of the last check of the directory
  std::string version;

  /// The cluster's name, by the receiver that runs or the last one; empty: it has none, or it is
  /// unknown.
  [[nodiscard]] std::string cluster_name() const {
    if (report.receiver && !report.receiver->cluster_name.empty())
      return report.receiver->cluster_name;
    return history ? history->cluster_name() : std::string();
  }
};

}  // namespace weir::web
