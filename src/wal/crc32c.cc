#include "wal/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

// Most records are small: 50 to 200 bytes, and each header is a separate piece. ISA-L is optimized
// for kilobytes; for small pieces its setup costs more than the CRC, and the CPU's own instruction,
// 8 bytes every 3 cycles, is faster.

namespace weir::wal {

namespace {

constexpr std::size_t kMostIsal = std::size_t{1} << 30;  // its length is an int
constexpr std::size_t kShort = 256;                      // where ISA-L becomes faster

#if defined(__x86_64__)

#define PGWEIR_CRC32C_INSTRUCTION __attribute__((target("sse4.2")))

PGWEIR_CRC32C_INSTRUCTION inline std::uint64_t add_8(std::uint64_t crc, std::uint64_t word) {
  return _mm_crc32_u64(crc, word);
}
PGWEIR_CRC32C_INSTRUCTION inline std::uint32_t add_4(std::uint32_t crc, std::uint32_t word) {
  return _mm_crc32_u32(crc, word);
}
PGWEIR_CRC32C_INSTRUCTION inline std::uint32_t add_1(std::uint32_t crc, std::uint8_t byte) {
  return _mm_crc32_u8(crc, byte);
}

bool ask_processor() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_2) != 0;
}

#elif defined(__aarch64__)

#define PGWEIR_CRC32C_INSTRUCTION

// The instructions read bytes in memory order.
static_assert(std::endian::native == std::endian::little);

// In assembly: some compilers' arm_acle.h has these only if every target processor supports them,
// and ARMv8.0 does not require it.
inline std::uint64_t add_8(std::uint64_t crc, std::uint64_t word) {
  asm(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
  return crc;
}
inline std::uint32_t add_4(std::uint32_t crc, std::uint32_t word) {
  asm(".arch_extension crc\n\tcrc32cw %w0, %w0, %w1" : "+r"(crc) : "r"(word));
  return crc;
}
inline std::uint32_t add_1(std::uint32_t crc, std::uint32_t byte) {
  asm(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(byte));
  return crc;
}

bool ask_processor() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

#endif

#if defined(PGWEIR_CRC32C_INSTRUCTION)

PGWEIR_CRC32C_INSTRUCTION inline std::uint32_t short_crc(std::uint32_t crc,
                                                         std::span<const std::byte> bytes) {
  const std::byte* at = bytes.data();
  const std::byte* const end = at + bytes.size();
  std::uint64_t wide = crc;
  for (; end - at >= 8; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    wide = add_8(wide, word);
  }
  auto narrow = static_cast<std::uint32_t>(wide);
  if (end - at >= 4) {
    std::uint32_t word;
    std::memcpy(&word, at, sizeof word);
    narrow = add_4(narrow, word);
    at += 4;
  }
  for (; at != end; ++at) narrow = add_1(narrow, std::to_integer<std::uint8_t>(*at));
  return narrow;
}

PGWEIR_CRC32C_INSTRUCTION std::uint32_t short_crc(std::uint32_t crc,
                                                  std::span<const std::byte> first,
                                                  std::span<const std::byte> second) {
  return short_crc(short_crc(crc, first), second);
}

#endif

}  // namespace

std::uint32_t crc32c_by_isal(std::uint32_t crc, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kMostIsal));
    // ISA-L does not write to the buffer; its prototype just lacks the const.
    auto* buffer = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(piece.data()));
    crc = crc32_iscsi(buffer, static_cast<int>(piece.size()), crc);
    bytes = bytes.subspan(piece.size());
  }
  return crc;
}

#if defined(PGWEIR_CRC32C_INSTRUCTION)

bool has_crc32c_instruction() {
  static const bool has = ask_processor();
  return has;
}

std::uint32_t crc32c_by_instruction(std::uint32_t crc, std::span<const std::byte> bytes) {
  return short_crc(crc, bytes);
}

std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> bytes) {
  if (bytes.size() < kShort && has_crc32c_instruction()) return short_crc(crc, bytes);
  return crc32c_by_isal(crc, bytes);
}

std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> first,
                     std::span<const std::byte> second) {
  if (first.size() < kShort && second.size() < kShort && has_crc32c_instruction())
    return short_crc(crc, first, second);
  return crc32c(crc32c(crc, first), second);
}

#else

bool has_crc32c_instruction() { return false; }

std::uint32_t crc32c_by_instruction(std::uint32_t crc, std::span<const std::byte> bytes) {
  return crc32c_by_isal(crc, bytes);
}

std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> bytes) {
  return crc32c_by_isal(crc, bytes);
}

std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> first,
                     std::span<const std::byte> second) {
  return crc32c_by_isal(crc32c_by_isal(crc, first), second);
}

#endif

}  // namespace weir::wal
