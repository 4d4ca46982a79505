#pragma once

#include <cstddef>
#include <string>

namespace weir::pq {

/// Whether a server responds, even if it rejects connections: PQping() in libpq's documentation.
/// `host`: index in the connection string's list. Waits at most 5 s. Throws Error{usage}.
[[nodiscard]] bool answers(const std::string& conninfo, std::size_t host);

}  // namespace weir::pq
