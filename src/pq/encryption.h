#pragma once

struct pg_conn;  // libpq's PGconn
struct ssl_st;   // OpenSSL's SSL

namespace weir::pq {

/// The TLS session of a connection, for weir::crypto. nullptr: none (any more), or libpq uses a
/// different OpenSSL library than weir::crypto.
[[nodiscard]] ssl_st* tls_session(pg_conn* connection);

}  // namespace weir::pq
