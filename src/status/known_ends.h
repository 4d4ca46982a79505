#pragma once

#include "archive/branch.h"
#include "status/report.h"

namespace weir::status {

/// Up to where the archive is durable on each timeline that it has WAL of: by its files, and on the
/// timeline that a receiver streams by its flush position. Pure.
[[nodiscard]] archive::TimelineEnds known_ends(const StatusReport& report);

}  // namespace weir::status
