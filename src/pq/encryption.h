#pragma once

struct pg_conn;  // libpq's PGconn
struct ssl_st;   // OpenSSL's SSL

namespace weir::pq {

/// The TLS session of a connection, for weir::crypto to work with. nullptr: it has none (any more),
/// or libpq has another OpenSSL than weir::crypto.
[[nodiscard]] ssl_st* tls_session(pg_conn* connection);

}  // namespace weir::pq
