#include "pq/encryption.h"

#include <libpq-fe.h>

#include "base/error.h"
#include "base/library.h"
#include "crypto/openssl.h"

namespace weir::pq {

namespace {

/// Compares one function's address in libpq and in weir::crypto's library: sessions of a different
/// library have a different memory layout.
bool same_openssl() {
  try {
    const Library libpq("libpq.so.5", "");  // already loaded
    return libpq.find("SSL_read") == crypto::find_in_libssl("SSL_read");
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

ssl_st* tls_session(pg_conn* connection) {
  if (PQsslInUse(connection) == 0) return nullptr;
  static const bool same = same_openssl();
  return same ? static_cast<ssl_st*>(PQsslStruct(connection, "OpenSSL")) : nullptr;
}

}  // namespace weir::pq
