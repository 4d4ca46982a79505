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
  /// With what the receiver says now, which may be newer than the look into the directory.
  status::StatusReport report;
  status::Verdict verdict;
  std::optional<History> history{};  ///< nullopt: nobody has noted any
  SystemTime now;
  SystemTime looked;           ///< when the directory was looked at
  bool look_is_stuck = false;  ///< the next look has not come back: the disk hangs
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
