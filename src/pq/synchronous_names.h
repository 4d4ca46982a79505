#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace weir::pq {

/// The names in synchronous_standby_names, in order, folded to lower case, including "*".
[[nodiscard]] std::vector<std::string> synchronous_names(std::string_view setting);
/// Whether commits may wait for a standby with this application_name (SyncRepGetStandbyPriority()
/// in syncrep.c).
[[nodiscard]] bool names_standby(std::string_view setting, std::string_view application_name);

}  // namespace weir::pq
