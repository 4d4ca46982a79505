#pragma once

#include <optional>
#include <string>

#include "status/check.h"
#include "status/report.h"

namespace weir::status {

/// For people: `width` columns for the picture, whose signs are ASCII unless `utf8`.
[[nodiscard]] std::string status_text(const StatusReport& report, int width = 80,
                                      bool utf8 = false);

// Parts of status_text(): the receiver, the relays, and the slots of their clients.
[[nodiscard]] std::string receiver_text(const StatusReport& report);
[[nodiscard]] std::string relays_text(const StatusReport& report);
[[nodiscard]] std::string slots_text(const StatusReport& report);

/// The timelines over the range of WAL, one row each, no wider than `width` columns. A place where
/// anything is missing shows as a hole, however small the hole is. "" if there is nothing to draw.
[[nodiscard]] std::string picture(const StatusReport& report, int width, bool utf8);

/// For programs; documented in docs/status.md. `verdict`: what --check found.
[[nodiscard]] std::string status_json(const StatusReport& report,
                                      const std::optional<Verdict>& verdict = std::nullopt);

}  // namespace weir::status
