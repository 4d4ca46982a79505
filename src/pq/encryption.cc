#include "pq/encryption.h"

#include <dlfcn.h>
#include <libpq-fe.h>

#include "base/error.h"
#include "crypto/library.h"

namespace weir::pq {

namespace {

/// Compares one function's address in libpq and in weir::crypto's library: sessions of a different
/// library have a different memory layout.
bool same_openssl() {
  void* const libpq = ::dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);  // already loaded
  if (libpq == nullptr) return false;
  void* const its = ::dlsym(libpq, "SSL_read");
  try {
    return its != nullptr && its == crypto::find_in_libssl("SSL_read");
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
