#pragma once

#include <cstddef>
#include <string>

#include "pq/connection.h"
#include "pq/conninfo.h"

// Whether a server responds, asked by a connection attempt: PQping() in libpq's documentation. It
// takes up to five seconds.

namespace weir::pq {

/// Also if it rejects connections. `host`: index in the connection string's list. Throws
/// Error{usage}.
[[nodiscard]] bool answers(const std::string& conninfo, std::size_t host);

/// Whether a server is shutting down, which it does not report on existing connections. May be used
/// by a different thread from the connection's.
class ShutdownProbe {
 public:
  /// Uses the server and parameters of `connection`. Does not keep it.
  explicit ShutdownProbe(const Connection& connection);

  /// True if the server answers that it rejects all connections (SQLSTATE 57P03): if it still
  /// serves an existing connection, it is shutting down. False for every other answer, and for
  /// none. Throws Error{usage} without libpq.
  [[nodiscard]] bool server_shuts_down() const;

 private:
  ConninfoValues values_;
};

}  // namespace weir::pq
