#pragma once

namespace weir::crypto {

// OpenSSL's two libraries, each loaded when its first function is looked up; src/pq/libpq.cc
// explains why. Both throw Error{usage} if the library or the function does not exist.

[[nodiscard]] void* find_in_libcrypto(const char* function);
[[nodiscard]] void* find_in_libssl(const char* function);

}  // namespace weir::crypto

// The arguments' types are deduced from the library's own declaration of the same name.
#define PGWEIR_CRYPTO(name)       \
  static const auto call_##name = \
      reinterpret_cast<decltype(&::name)>(::weir::crypto::find_in_libcrypto(#name))
#define PGWEIR_SSL(name)          \
  static const auto call_##name = \
      reinterpret_cast<decltype(&::name)>(::weir::crypto::find_in_libssl(#name))
