#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

namespace weir::wal {

/// Removes an integer from the front, as the server wrote it (little-endian, not aligned), and
/// returns it; nullopt if there are too few bytes.
template <typename Integer>
std::optional<Integer> take(std::span<const std::byte>& bytes) {
  if (bytes.size() < sizeof(Integer)) return std::nullopt;
  Integer value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  bytes = bytes.subspan(sizeof(value));
  return value;
}

/// Likewise, at an offset.
template <typename Integer>
std::optional<Integer> integer_at(std::span<const std::byte> bytes, std::size_t offset) {
  if (bytes.size() < offset) return std::nullopt;
  auto rest = bytes.subspan(offset);
  return take<Integer>(rest);
}

}  // namespace weir::wal
