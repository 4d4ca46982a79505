#pragma once

#include <optional>
#include <string>

#include "status/check.h"
#include "status/report.h"

namespace weir::status {

/// For programs; documented in docs/status.md. `verdict`: what --check found.
[[nodiscard]] std::string status_json(const StatusReport& report,
                                      const std::optional<Verdict>& verdict = std::nullopt);

}  // namespace weir::status
