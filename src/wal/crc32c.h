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

/// The two ways that crc32c() takes, with the same result. The processor's own instruction
/// (SSE 4.2, ARMv8's CRC32) is for few bytes, and only where the processor has it.
[[nodiscard]] std::uint32_t crc32c_by_instruction(std::uint32_t crc,
                                                  std::span<const std::byte> bytes);
/// ISA-L, which folds where the processor can, and has a table where it can't.
[[nodiscard]] std::uint32_t crc32c_by_isal(std::uint32_t crc, std::span<const std::byte> bytes);
/// Asked of the processor when it is first needed: in a virtual machine each such question may cost
/// 10 µs, and a restore that finds its file ready asks none.
[[nodiscard]] bool has_crc32c_instruction();

}  // namespace weir::wal
