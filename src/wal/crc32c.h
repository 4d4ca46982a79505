#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weir::wal {

/// Goes on with a reflected CRC-32C over `bytes`, any number of them. Neither presets nor inverts:
/// a record's CRC begins with ~0 and is inverted when it is complete.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> bytes);
/// Over two pieces, as if `second` stood behind `first`.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> first,
                                   std::span<const std::byte> second);

}  // namespace weir::wal
