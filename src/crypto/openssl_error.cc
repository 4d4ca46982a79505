#include "crypto/openssl_error.h"

#include <openssl/err.h>

namespace weir::crypto {

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
