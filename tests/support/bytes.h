#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir::test {

using Bytes = std::vector<std::byte>;

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline Bytes bytes_of(std::string_view text) {
  const auto bytes = as_bytes(text);
  return Bytes(bytes.begin(), bytes.end());
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// Different at every place and for every seed, and not all of one kind: some of it compresses.
inline Bytes pattern(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = (at / 512) % 3 == 0 ? seed + at : random();
    for (std::size_t i = 0; i < 8 && at + i < size; ++i)
      bytes[at + i] = static_cast<std::byte>((word >> (8 * i)) | (i == 0 ? 1 : 0));
  }
  return bytes;
}

/// PGWEIR_SEED, else the test's own number: a failure names the seed that shows it again.
inline std::uint64_t seed_or(std::uint64_t fallback) {
  const char* const text = std::getenv("PGWEIR_SEED");
  const std::uint64_t seed = text ? std::strtoull(text, nullptr, 10) : fallback;
  std::cout << "PGWEIR_SEED=" << seed << '\n';
  return seed;
}

}  // namespace weir::test
