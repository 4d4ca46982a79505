#pragma once

#include <cstddef>
#include <string>

namespace weir::pq {

/// Whether somebody answers there as a server does, whether it lets us in or not: PQping() in
/// libpq's documentation. `host`: of those of the connection string, which one. Waits 5 s at most.
/// Throws Error{usage}.
[[nodiscard]] bool answers(const std::string& conninfo, std::size_t host);

}  // namespace weir::pq
