#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "support/bytes.h"

/// A fuzz target is a file with these two. It aborts (PGWEIR_CHECK), or lets something escape, if
/// the code under test breaks its contract; the sanitizers see to the rest.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace weir::fuzz {

/// Sound inputs to begin with, always the same.
std::vector<test::Bytes> corpus();

inline std::span<const std::byte> bytes(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}
inline std::string_view text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Takes the first byte off.
inline std::uint8_t take(std::span<const std::byte>& input) {
  if (input.empty()) return 0;
  const auto byte = static_cast<std::uint8_t>(input.front());
  input = input.subspan(1);
  return byte;
}

}  // namespace weir::fuzz
