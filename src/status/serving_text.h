#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "status/report.h"

namespace weir::status {

// Who is served, and what their slots hold back: parts of status_text() and status_json().

/// An array of clients, of a receiver that serves or of `pgweir serve`, in pg_stat_replication's
/// words; who is furthest behind comes first. "" if it is none.
[[nodiscard]] std::string clients_text(const nlohmann::json& clients);
[[nodiscard]] std::string relays_text(const StatusReport& report);
[[nodiscard]] std::string slots_text(const StatusReport& report);

[[nodiscard]] nlohmann::json relays_json(const StatusReport& report);
[[nodiscard]] nlohmann::json slots_json(const StatusReport& report);

}  // namespace weir::status
