#pragma once

#include "pq/connection.h"
#include "pq/conninfo.h"

namespace weir::pq {

/// Tries to connect to a server, to learn whether the server is shutting down: a server does not
/// say so over a connection that is open already. May be used by another thread than the
/// connection.
class ShutdownProbe {
 public:
  /// Where `connection` leads, and with what it got in. Does not keep it.
  explicit ShutdownProbe(const Connection& connection);

  /// True if the server answers that it lets nobody in (SQLSTATE 57P03; PQping() in libpq's
  /// documentation): one that still serves an older connection shuts down. False for every other
  /// answer, and for none. Takes up to five seconds. Throws Error{usage} without libpq.
  [[nodiscard]] bool server_shuts_down() const;

 private:
  ConninfoValues values_;
};

}  // namespace weir::pq
