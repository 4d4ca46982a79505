#include "wal/page.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "support/wal_builder.h"

namespace weir::wal::page_test {
namespace {

/// A long header as a server of version 18 wrote it (0/3000000, timeline 1, 16 MB segments).
constexpr std::uint8_t kLong[kLongHeaderSize] = {
    0x18, 0xD1, 0x07, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00,
    0x00, 0x00, 0x2A, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x07, 0x06, 0x05,
    0x04, 0x03, 0x02, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x20, 0x00, 0x00};

std::span<const std::byte> long_header() { return std::as_bytes(std::span(kLong)); }

TEST(PageHeader, IsDecodedFromItsBytes) {
  const auto header = decode_page_header(long_header());
  ASSERT_TRUE(header);
  EXPECT_EQ(header->magic, 0xD118);
  EXPECT_EQ(header->info, 0x0007);
  EXPECT_EQ(header->timeline, 1u);
  EXPECT_EQ(header->address, Lsn(0x3000000));
  EXPECT_EQ(header->remaining, 42u);
  EXPECT_TRUE(header->long_header);
  EXPECT_EQ(header->system_identifier, 0x0102030405060708u);
  EXPECT_EQ(header->segment_size, 16u << 20);
  EXPECT_EQ(header->page_size, kPageSize);
  EXPECT_EQ(header->size(), kLongHeaderSize);
}

TEST(PageHeader, NeedsTheBytesThatItsFlagsAnnounce) {
  for (std::size_t size = 0; size <= kLongHeaderSize; ++size)
    EXPECT_EQ(decode_page_header(long_header().first(size)).has_value(), size == kLongHeaderSize);

  std::vector<std::byte> bytes(long_header().begin(), long_header().end());
  bytes[2] = std::byte{0};
  for (std::size_t size = 0; size <= kLongHeaderSize; ++size) {
    const auto header = decode_page_header(std::span(bytes).first(size));
    ASSERT_EQ(header.has_value(), size >= kShortHeaderSize);
    if (!header) continue;
    EXPECT_FALSE(header->long_header);
    EXPECT_EQ(header->size(), kShortHeaderSize);
    EXPECT_EQ(header->system_identifier, 0u);
  }
}

TEST(PageHeader, KnowsThatTheFlagsChangedIn19) {
  const struct {
    std::uint16_t magic, info;
    bool continues, overwrites, known;
  } cases[] = {
      {0xD106, 0x0000, false, false, true},  {0xD106, 0x0001, true, false, true},
      {0xD106, 0x0004, false, false, true},  {0xD106, 0x0008, false, true, true},
      {0xD118, 0x0004, false, false, true},  {0xD118, 0x000F, true, true, true},
      {0xD118, 0x0010, false, false, false}, {0xD118, 0x8000, false, false, false},
      {0xD122, 0x0001, true, false, true},   {0xD122, 0x0004, false, true, true},
      {0xD122, 0x0007, true, true, true},    {0xD122, 0x0008, false, false, false},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(fmt::format("magic {:X}, info {:X}", test.magic, test.info));
    PageHeader header;
    header.magic = test.magic;
    header.info = test.info;
    EXPECT_EQ(header.first_is_continuation(), test.continues);
    EXPECT_EQ(header.overwrites_continuation(), test.overwrites);
    EXPECT_EQ(header.info_bits_known(), test.known);
  }
}

TEST(PageMagic, NamesItsVersion) {
  const struct {
    int major;
    std::uint16_t magic;
  } cases[] = {{13, 0xD106}, {14, 0xD10D}, {15, 0xD110}, {16, 0xD113},
               {17, 0xD116}, {18, 0xD118}, {19, 0xD122}};
  for (const auto& test : cases) {
    SCOPED_TRACE(test.major);
    EXPECT_EQ(major_version_of_magic(test.magic), test.major);
    EXPECT_EQ(magic_of_major_version(test.major), test.magic);
    EXPECT_FALSE(magic_is_newer_than_known(test.magic));
  }
  for (const unsigned magic : {0x0000u, 0xD101u, 0xD107u, 0xD117u, 0xD120u, 0x18D1u})
    EXPECT_EQ(major_version_of_magic(static_cast<std::uint16_t>(magic)), std::nullopt);
  for (const int major : {0, 9, 12, 20, -1}) EXPECT_EQ(magic_of_major_version(major), std::nullopt);
  EXPECT_FALSE(magic_is_newer_than_known(0xD120));
  EXPECT_TRUE(magic_is_newer_than_known(0xD123));
  EXPECT_FALSE(major_version_of_magic(0xD121)) << "of the betas of 19";
  EXPECT_TRUE(magic_is_newer_than_known(0xFFFF));
}

TEST(RecordHeader, IsDecodedFromItsBytes) {
  constexpr std::uint8_t kBytes[kRecordHeaderSize] = {0x72, 0,    0,    0,    5,    0, 0, 0,
                                                      0x78, 0x89, 0x91, 0x17, 0x01, 0, 0, 0,
                                                      0xD0, 0x0A, 0,    0,    1,    2, 3, 4};
  const auto header = decode_record_header(std::as_bytes(std::span(kBytes)));
  EXPECT_EQ(header.total_length, 0x72u);
  EXPECT_EQ(header.transaction, 5u);
  EXPECT_EQ(header.previous, Lsn(0x117918978));
  EXPECT_EQ(header.info, 0xD0);
  EXPECT_EQ(header.resource_manager, 10);
  EXPECT_EQ(header.crc, 0x04030201u);
}

TEST(WalBuilder, ComputesTheChecksumThatTheWorldCallsCrc32c) {
  const std::string digits = "123456789";
  EXPECT_EQ(~testing::crc32c(~0u, std::as_bytes(std::span(digits))), 0xE3069283u);
}

TEST(WalBuilder, GivesTheSameBytesInWhateverStepsItGrows) {
  const testing::WalBuilder::Options options{.seed = 17};
  testing::WalBuilder once(options), stepwise(options);
  const auto to = options.start + 2'500'000;
  once.grow_to(to);
  for (auto at = options.start; at < to; at = at + 777) stepwise.grow_to(at);
  stepwise.grow_to(to);
  const auto all = once.bytes();
  ASSERT_EQ(all.size(), stepwise.bytes().size());
  EXPECT_EQ(std::memcmp(all.data(), stepwise.bytes().data(), all.size()), 0);
}

TEST(WalBuilder, SharesTheBytesBeforeTheSwitchpointWithItsFork) {
  testing::WalBuilder parent({.seed = 4});
  parent.grow_to(parent.start() + 500'000);
  const auto fork = parent.fork_point(parent.start() + 300'000);
  auto child = parent.fork(fork, 2, 5);
  child.grow_to(fork + 200'000);
  const auto shared = fork - parent.start();
  EXPECT_EQ(std::memcmp(parent.bytes().data(), child.bytes().data(), shared), 0);
  EXPECT_NE(std::memcmp(parent.bytes().data() + shared, child.bytes().data() + shared, 100), 0);
}

}  // namespace
}  // namespace weir::wal::page_test
