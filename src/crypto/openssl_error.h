#pragma once

#include <string>

#include "base/error.h"
#include "crypto/library.h"

namespace weir::crypto {

/// What OpenSSL says of its last failure on this thread; the report is taken away.
[[nodiscard]] std::string openssl_reason();
/// Error{io} with it.
[[nodiscard]] Error openssl_error(const std::string& what);

}  // namespace weir::crypto
