#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weir::wal {

/// Continues a reflected CRC-32C over `bytes`, any number of them. Neither presets nor inverts: a
/// record's CRC starts with ~0 and is inverted when it is complete.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> bytes);
/// Over two pieces, as if `second` followed `first`.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> first,
                                   std::span<const std::byte> second);

/// The two implementations that crc32c() chooses from; the results are equal. The CPU's own
/// instruction (SSE 4.2, ARMv8's CRC32) is for few bytes, and only if the CPU supports it.
[[nodiscard]] std::uint32_t crc32c_by_instruction(std::uint32_t crc,
                                                  std::span<const std::byte> bytes);
/// ISA-L, which folds if the CPU supports it, and uses a table otherwise.
[[nodiscard]] std::uint32_t crc32c_by_isal(std::uint32_t crc, std::span<const std::byte> bytes);
/// Queries the CPU when first called: in a virtual machine each such query may take 10 µs, and a
/// restore that finds its file ready needs none.
[[nodiscard]] bool has_crc32c_instruction();

}  // namespace weir::wal
