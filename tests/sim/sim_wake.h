#pragma once

namespace weir::sim {

/// The net::Wake with this number in the place of a descriptor is raised. In the simulation a Wake
/// is no eventfd: who waits asks for it at each step, and a call of the kernel for each of these
/// took a fifth of all time.
[[nodiscard]] bool is_raised(int fd);

}  // namespace weir::sim
