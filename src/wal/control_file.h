#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace weir::wal {

/// Bytes of pg_control that system_identifier_in() reads.
inline constexpr std::size_t kControlFront = sizeof(std::uint64_t);

/// The cluster's system identifier, the first field of pg_control (ControlFileData in
/// catalog/pg_control.h), in the byte order of this machine. nullopt: `front` is too short.
[[nodiscard]] inline std::optional<std::uint64_t> system_identifier_in(
    std::span<const std::byte> front) {
  if (front.size() < kControlFront) return std::nullopt;
  std::uint64_t identifier = 0;
  std::memcpy(&identifier, front.data(), kControlFront);
  return identifier;
}

}  // namespace weir::wal
