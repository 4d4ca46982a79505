#pragma once

#include <string>

#include "status/report.h"

namespace weir::status {

// Parts of status_text(): the receiver, the relays, and the slots of their clients.

[[nodiscard]] std::string receiver_text(const StatusReport& report);
[[nodiscard]] std::string relays_text(const StatusReport& report);
[[nodiscard]] std::string slots_text(const StatusReport& report);

}  // namespace weir::status
