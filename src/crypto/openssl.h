#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/error.h"

namespace weir::crypto {

// OpenSSL's two libraries, each loaded when its first function is looked up. Both throw
// Error{usage} if the library or the function does not exist.

[[nodiscard]] void* find_in_libcrypto(const char* function);
[[nodiscard]] void* find_in_libssl(const char* function);

/// OpenSSL's error text for the last failure on this thread; the error is removed from its queue.
[[nodiscard]] std::string openssl_reason();
/// Error{io} with it.
[[nodiscard]] Error openssl_error(const std::string& what);

// Bytes as arguments of OpenSSL's functions: to be written, and to be read.
inline unsigned char* room(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}
inline const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace weir::crypto

// The arguments' types are deduced from the library's own declaration of the same name.
#define PGWEIR_CRYPTO(name)       \
  static const auto call_##name = \
      reinterpret_cast<decltype(&::name)>(::weir::crypto::find_in_libcrypto(#name))
#define PGWEIR_SSL(name)          \
  static const auto call_##name = \
      reinterpret_cast<decltype(&::name)>(::weir::crypto::find_in_libssl(#name))
