#include "wal/crc32c.h"

#include <gtest/gtest.h>

#include <string_view>

#include "support/bytes.h"

namespace weir::wal::crc32c_test {
namespace {

/// One bit after the other, as the definition has it.
std::uint32_t by_definition(std::uint32_t crc, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
  }
  return crc;
}

TEST(Crc32c, HasTheValueOfTheStandardsExample) {
  constexpr std::string_view kText = "123456789";
  EXPECT_EQ(~crc32c(~0u, std::as_bytes(std::span(kText))), 0xE3069283u);
}

TEST(Crc32c, IsTheSameForEachLengthAndAlignment) {
  const auto bytes = test::pattern(9000, 7);
  const auto all = std::span(bytes);
  for (std::size_t length = 0; length < 600; ++length) {
    const auto piece = all.subspan(length % 16, length);
    ASSERT_EQ(crc32c(~0u, piece), by_definition(~0u, piece)) << length;
  }
  EXPECT_EQ(crc32c(0x12345678u, all), by_definition(0x12345678u, all));
}

/// As if the processor had the instruction, and as if it had none.
TEST(Crc32c, IsTheSameByTheInstructionAndByIsal) {
  const auto bytes = test::pattern(1000, 11);
  const auto all = std::span(bytes);
  for (std::size_t length = 0; length < 600; ++length) {
    const auto piece = all.subspan(length % 16, length);
    const auto expected = by_definition(0x9ABCDEF0u, piece);
    ASSERT_EQ(crc32c_by_isal(0x9ABCDEF0u, piece), expected) << length;
    if (has_crc32c_instruction()) {
      ASSERT_EQ(crc32c_by_instruction(0x9ABCDEF0u, piece), expected) << length;
    }
  }
}

TEST(Crc32c, DoesNotDependOnThePieces) {
  const auto bytes = test::pattern(9000, 7);
  const auto all = std::span(bytes);
  const auto whole = crc32c(~0u, all);
  for (std::size_t cut = 0; cut < all.size(); cut += 97)
    ASSERT_EQ(crc32c(crc32c(~0u, all.first(cut)), all.subspan(cut)), whole) << cut;
  for (std::size_t cut = 0; cut < all.size(); cut += 97)
    ASSERT_EQ(crc32c(~0u, all.first(cut), all.subspan(cut)), whole) << cut;
  for (std::size_t cut = 0; cut < 300; ++cut)
    ASSERT_EQ(crc32c(~0u, all.first(cut), all.subspan(cut, 20)), crc32c(~0u, all.first(cut + 20)));
}

}  // namespace
}  // namespace weir::wal::crc32c_test
