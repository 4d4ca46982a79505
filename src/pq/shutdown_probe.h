#pragma once

#include "pq/connection.h"
#include "pq/conninfo.h"

namespace weir::pq {

/// Checks by a connection attempt whether a server is shutting down, which a server does not report
/// on existing connections. May be used by a different thread from the connection's.
class ShutdownProbe {
 public:
  /// Uses the server and parameters of `connection`. Does not keep it.
  explicit ShutdownProbe(const Connection& connection);

  /// True if the server answers that it rejects all connections (SQLSTATE 57P03; PQping() in
  /// libpq's documentation): if it still serves an existing connection, it is shutting down. False
  /// for every other answer, and for none. Takes up to five seconds. Throws Error{usage} without
  /// libpq.
  [[nodiscard]] bool server_shuts_down() const;

 private:
  ConninfoValues values_;
};

}  // namespace weir::pq
