#include "wal/segment.h"

#include <gtest/gtest.h>

namespace weir::wal::segment_test {
namespace {

constexpr std::uint64_t kMegabyte = 1 << 20;

TEST(SegmentSize, IsAPowerOfTwoFrom1MegabyteTo1Gigabyte) {
  for (std::uint64_t bytes = kMegabyte; bytes <= 1024 * kMegabyte; bytes *= 2) {
    SCOPED_TRACE(bytes);
    ASSERT_TRUE(SegmentSize::of(bytes));
    EXPECT_EQ(SegmentSize::of(bytes)->bytes(), bytes);
  }
  for (const std::uint64_t bytes :
       {std::uint64_t{0}, std::uint64_t{1}, kMegabyte / 2, kMegabyte - 1, kMegabyte + 1,
        3 * kMegabyte, 1024 * kMegabyte - 1, 1024 * kMegabyte + 1, 2048 * kMegabyte,
        (std::uint64_t{1} << 32) + kMegabyte, ~std::uint64_t{0}}) {
    SCOPED_TRACE(bytes);
    EXPECT_EQ(SegmentSize::of(bytes), std::nullopt);
  }
  EXPECT_EQ(SegmentSize().bytes(), 16 * kMegabyte);
}

TEST(SegmentSize, DividesTheStream) {
  const auto size = *SegmentSize::of(kMegabyte);
  const struct {
    Lsn lsn;
    std::uint64_t segno, offset;
  } cases[] = {
      {Lsn(0), 0, 0},
      {Lsn(kMegabyte - 1), 0, kMegabyte - 1},
      {Lsn(kMegabyte), 1, 0},
      {Lsn(0x1'0000'0000), 4096, 0},
      {Lsn(0x1'0000'0001), 4096, 1},
      {Lsn(~std::uint64_t{0}), 0xFFF'FFFF'FFFF, kMegabyte - 1},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.lsn.to_string());
    EXPECT_EQ(size.segno(test.lsn), test.segno);
    EXPECT_EQ(size.offset(test.lsn), test.offset);
    EXPECT_EQ(size.start_of(test.lsn), Lsn(test.lsn.byte() - test.offset));
    EXPECT_EQ(size.start(test.segno), size.start_of(test.lsn));
  }
}

TEST(SegmentName, ReadsAndWrites24UpperCaseHexDigits) {
  const struct {
    const char* name;
    const char* text;
    bool valid;
  } cases[] = {
      {"first segment", "000000010000000000000001", true},
      {"hex digits", "0000000A0000000B000000FF", true},
      {"largest", "FFFFFFFFFFFFFFFFFFFFFFFF", true},
      {"empty", "", false},
      {"too short", "00000001000000000000000", false},
      {"too long", "0000000100000000000000010", false},
      {"lower case", "0000000a0000000000000001", false},
      {"timeline 0", "000000000000000000000001", false},
      {"no hex digit", "00000001000000000000000G", false},
      {"blank for a digit", "00000001 000000000000001", false},
      {"sign for a digit", "00000001-000000000000001", false},
      {"partial", "000000010000000000000001.partial", false},
      {"compressed", "000000010000000000000001.zst", false},
      {"backup history", "000000010000000000000001.00000028.backup", false},
      {"history", "00000002.history", false},
      {"path", "pg_wal/00000001000000000000001", false},
      {"trailing newline", "000000010000000000000001\n", false},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const auto name = SegmentName::parse(test.text);
    ASSERT_EQ(name.has_value(), test.valid);
    if (name) {
      EXPECT_EQ(name->to_string(), test.text);
      EXPECT_EQ(fmt::format("{}", *name), test.text);
    }
  }
  EXPECT_EQ(SegmentName::parse(std::string_view("00000001000000000000000\0", 24)), std::nullopt);
}

TEST(SegmentName, CountsSegmentsAsTheSizeSays) {
  const struct {
    std::uint64_t megabytes, segno;
    const char* text;
    Lsn start;
  } cases[] = {
      {1, 1, "000000030000000000000001", Lsn(kMegabyte)},
      {1, 4095, "000000030000000000000FFF", Lsn(0xFFF00000)},
      {1, 4096, "000000030000000100000000", Lsn(0x100000000)},
      {16, 255, "0000000300000000000000FF", Lsn(0xFF000000)},
      {16, 256, "000000030000000100000000", Lsn(0x100000000)},
      {64, 65, "000000030000000100000001", Lsn(0x104000000)},
      {1024, 3, "000000030000000000000003", Lsn(0xC0000000)},
      {1024, 4, "000000030000000100000000", Lsn(0x100000000)},
      {1024, 0x3FFFFFFFF, "00000003FFFFFFFF00000003", Lsn(0xFFFFFFFFC0000000)},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(fmt::format("{} MB, {}", test.megabytes, test.text));
    const auto size = *SegmentSize::of(test.megabytes * kMegabyte);
    const SegmentName name(3, test.segno, size);
    EXPECT_EQ(name.to_string(), test.text);
    EXPECT_EQ(SegmentName::parse(test.text), name);
    EXPECT_TRUE(name.fits(size));
    EXPECT_EQ(name.segno(size), test.segno);
    EXPECT_EQ(name.start(size), test.start);
    EXPECT_EQ(name.timeline(), 3u);
  }
}

TEST(SegmentName, FindsNumbersThatDoNotExistWithASize) {
  const auto name = *SegmentName::parse("000000010000000000000100");
  EXPECT_TRUE(name.fits(*SegmentSize::of(8 * kMegabyte)));
  EXPECT_FALSE(name.fits(*SegmentSize::of(16 * kMegabyte)));
  EXPECT_FALSE(SegmentName::parse("000000010000000000001000")->fits(*SegmentSize::of(kMegabyte)));
  EXPECT_FALSE(SegmentName::parse("000000010000000000000004")->fits(*SegmentSize::of(1 << 30)));
}

TEST(SegmentName, OrdersByTimelineThenPosition) {
  const auto parse = [](const char* text) { return *SegmentName::parse(text); };
  EXPECT_LT(parse("0000000100000000000000FF"), parse("000000010000000100000000"));
  EXPECT_LT(parse("00000001FFFFFFFF000000FF"), parse("000000020000000000000001"));
}

TEST(HistoryName, IsATimelineAndItsSuffix) {
  const struct {
    const char* name;
    const char* text;
    std::optional<TimelineId> expected;
  } cases[] = {
      {"second timeline", "00000002.history", 2},
      {"hex digits", "0000ABCD.history", 0xABCD},
      {"largest", "FFFFFFFF.history", 0xFFFFFFFF},
      {"timeline 0", "00000000.history", std::nullopt},
      {"lower case", "0000000a.history", std::nullopt},
      {"too short", "0000002.history", std::nullopt},
      {"too long", "000000002.history", std::nullopt},
      {"no digits", ".history", std::nullopt},
      {"partial", "00000002.history.partial", std::nullopt},
      {"temporary", "00000002.history.tmp", std::nullopt},
      {"other suffix", "00000002.History", std::nullopt},
      {"segment", "000000010000000000000001", std::nullopt},
      {"empty", "", std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(parse_history_name(test.text), test.expected);
    if (test.expected) {
      EXPECT_EQ(history_name(*test.expected), test.text);
    }
  }
}

}  // namespace
}  // namespace weir::wal::segment_test
