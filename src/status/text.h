#pragma once

#include <string>

#include "status/report.h"

namespace weir::status {

/// For people: `width` columns for the picture, whose signs are ASCII unless `utf8`.
[[nodiscard]] std::string status_text(const StatusReport& report, int width = 80,
                                      bool utf8 = false);

}  // namespace weir::status
