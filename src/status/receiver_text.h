#pragma once

#include <string>

#include "status/report.h"

namespace weir::status {

/// What the receiver says of itself, for people: a part of status_text().
[[nodiscard]] std::string receiver_text(const StatusReport& report);

}  // namespace weir::status
