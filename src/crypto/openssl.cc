// libcrypto and libssl are loaded on first use (`base/library.h`), as libpq is: a separate module
// would only add a file, and `restore` loads nothing new
// (`test_serve_tls.py::test_openssl_is_loaded_by_who_needs_it`). The primitives are OpenSSL's;
// SCRAM's messages are pgweir's (`relay/scram.cc`). A user who is not in the file gets a salt
// derived from the file's own secrets, so it is the same after a restart, too.

#include "crypto/openssl.h"

#include <openssl/err.h>

#include "base/library.h"

namespace weir::crypto {

namespace {

constexpr const char* kPackage = "Install OpenSSL 3 (on Debian: apt-get install libssl3).";

}  // namespace

void* find_in_libcrypto(const char* function) {
  static const Library library("libcrypto.so.3", kPackage);
  return library.find(function);
}

void* find_in_libssl(const char* function) {
  static const Library library("libssl.so.3", kPackage);
  return library.find(function);
}

std::string openssl_reason() {
  PGWEIR_CRYPTO(ERR_get_error);
  PGWEIR_CRYPTO(ERR_reason_error_string);
  PGWEIR_CRYPTO(ERR_clear_error);
  // The first error is the cause.
  const auto code = call_ERR_get_error();
  const char* const text = code != 0 ? call_ERR_reason_error_string(code) : nullptr;
  call_ERR_clear_error();
  return text != nullptr ? text : "OpenSSL gives no reason";
}

Error openssl_error(const std::string& what) {
  return Error(ErrorKind::io, what + ": " + openssl_reason());
}

}  // namespace weir::crypto
