#pragma once

#include <string>

#include "status/report.h"

namespace weir::status {

/// The timelines over the range of WAL, one row each, no wider than `width` columns. A place where
/// anything is missing shows as a hole, however small the hole is. "" if there is nothing to draw.
[[nodiscard]] std::string picture(const StatusReport& report, int width, bool utf8);

}  // namespace weir::status
