#pragma once

#include <string>

#include "base/error.h"
#include "crypto/library.h"

namespace weir::crypto {

/// OpenSSL's error text for the last failure on this thread; the error is removed from its queue.
[[nodiscard]] std::string openssl_reason();
/// Error{io} with it.
[[nodiscard]] Error openssl_error(const std::string& what);

}  // namespace weir::crypto
