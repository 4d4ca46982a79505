#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace weir::wire {

// Numbers of PostgreSQL's frontend/backend protocol, which are always big-endian (documentation,
// "Message Data Types"). Pure.

/// The first eight bytes of `bytes`, which must have at least eight.
[[nodiscard]] inline std::uint64_t read_u64(std::span<const std::byte> bytes) {
  std::uint64_t number = 0;
  for (const std::byte byte : bytes.first<8>())
    number = number << 8 | std::to_integer<unsigned>(byte);
  return number;
}

[[nodiscard]] inline std::uint32_t read_u32(std::span<const std::byte> bytes) {
  std::uint32_t number = 0;
  for (const std::byte byte : bytes.first<4>())
    number = number << 8 | std::to_integer<unsigned>(byte);
  return number;
}

[[nodiscard]] inline std::uint16_t read_u16(std::span<const std::byte> bytes) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[0]) << 8 |
                                    std::to_integer<unsigned>(bytes[1]));
}

inline void append_u64(std::string& bytes, std::uint64_t number) {
  std::array<char, 8> text{};
  for (char& byte : text) {
    byte = static_cast<char>(number >> 56);
    number <<= 8;
  }
  bytes.append(text.data(), text.size());
}

inline void append_u32(std::string& bytes, std::uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes.push_back(static_cast<char>(number >> shift & 0xff));
}

inline void append_u16(std::string& bytes, std::uint16_t number) {
  bytes.push_back(static_cast<char>(number >> 8));
  bytes.push_back(static_cast<char>(number & 0xff));
}

}  // namespace weir::wire
