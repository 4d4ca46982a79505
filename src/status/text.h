#pragma once

#include <optional>
#include <string>

#include "status/check.h"
#include "status/report.h"

namespace weir::status {

/// For people: `width` columns for the picture, whose signs are ASCII unless `utf8`.
[[nodiscard]] std::string status_text(const StatusReport& report, int width = 80,
                                      bool utf8 = false);
/// Documented in docs/status.md. `verdict`: what --check found.
[[nodiscard]] std::string status_json(const StatusReport& report,
                                      const std::optional<Verdict>& verdict = std::nullopt);

}  // namespace weir::status
