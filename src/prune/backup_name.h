#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace weir::prune {

// The names that `pgweir backup` gives: when the backup began, by the clock of this machine, in
// UTC. Pure.

/// "20261120T031415Z"
[[nodiscard]] std::string backup_name(std::chrono::system_clock::time_point time);
/// The time in a name that backup_name() could have made; nullopt: another name.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> time_of_backup_name(
    std::string_view name);

}  // namespace weir::prune
