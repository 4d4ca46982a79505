#pragma once

#include <cstddef>
#include <span>

namespace weir::crypto {

// Bytes as arguments of OpenSSL's functions: to be written, and to be read.
inline unsigned char* room(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}
inline const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace weir::crypto
