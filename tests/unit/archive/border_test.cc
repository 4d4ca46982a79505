#include "archive/border.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "support/archive_builder.h"

namespace weir::archive::border_test {
namespace {

using codec::Method;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

/// WAL with a record that begins `front` bytes ahead of segment 3 and has `length` bytes.
testing::WalBuilder wal_with_crossing_record(std::uint64_t front, std::uint32_t length) {
  testing::WalBuilder wal({.segment_size = kSize, .start = kSize.start(1)});
  while (kSize.start(3) - wal.end() > 8'192) wal.append_random(400);
  wal.append_up_to(Lsn(kSize.start(3).byte() - front));
  wal.append_random(length);
  wal.grow_to(kSize.start(4));
  return wal;
}

wal::RecordVerifier::Options options_of(const testing::WalBuilder& wal) {
  return {.segment_size = kSize,
          .timeline = 1,
          .system_identifier = wal.options().system_identifier,
          .server_major = wal.options().server_major};
}

TEST(Border, KnowsTheFrontOfTheRecordThatCrossesIt) {
  for (const auto method : {Method::none, Method::zstd, Method::lz4, Method::gzip}) {
    SCOPED_TRACE(static_cast<int>(method));
    auto wal = wal_with_crossing_record(200, 1'000);
    ArchiveBuilder archive;
    archive.segments(wal, 1, 3, method);
    const auto directory = archive.disk.open();
    auto verifier = verifier_at(*directory, options_of(wal), kSize.start(3));
    EXPECT_EQ(verifier.position(), kSize.start(3));
    EXPECT_TRUE(verifier.inside_record());
    EXPECT_EQ(verifier.newest_record_start(), Lsn(kSize.start(3).byte() - 200));
    EXPECT_FALSE(verifier.feed(ArchiveBuilder::content(wal, 3)));
  }
}

TEST(Border, FindsDamageInTheFrontOfARecordWhenItsRestComes) {
  for (const auto method : {Method::none, Method::zstd}) {
    SCOPED_TRACE(static_cast<int>(method));
    auto wal = wal_with_crossing_record(200, 1'000);
    const auto content = ArchiveBuilder::content(wal, 2);
    test::Bytes damaged(content.begin(), content.end());
    damaged[damaged.size() - 100] ^= std::byte{4};
    ArchiveBuilder archive;
    archive.disk.put(ArchiveBuilder::name(wal, 2, method), verify::packed(method, damaged));
    const auto directory = archive.disk.open();
    auto verifier = verifier_at(*directory, options_of(wal), kSize.start(3));
    const auto damage = verifier.feed(ArchiveBuilder::content(wal, 3));
    ASSERT_TRUE(damage);
    EXPECT_EQ(damage->at, Lsn(kSize.start(3).byte() - 200));
  }
}

TEST(Border, ReadsBackToThePageInWhichTheRecordBegins) {
  testing::WalBuilder longer({.segment_size = kSize, .start = kSize.start(1)});
  while (kSize.start(3) - longer.end() > 60'000) longer.append_random(400);
  const auto begin = longer.end();
  longer.append_random(70'000);
  longer.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.segments(longer, 1, 3);
  const auto directory = archive.disk.open();
  auto verifier = verifier_at(*directory, options_of(longer), kSize.start(3));
  EXPECT_EQ(verifier.newest_record_start(), begin);
  EXPECT_FALSE(verifier.feed(ArchiveBuilder::content(longer, 3)));
}

TEST(Border, ReadsAllSegmentsOfARecordThatIsLongerThanOne) {
  testing::WalBuilder wal({.segment_size = kSize, .start = kSize.start(1)});
  while (kSize.start(2) - wal.end() > 60'000) wal.append_random(400);
  const auto begin = wal.end();
  wal.append_random(1'200'000);
  wal.grow_to(kSize.start(4));
  for (const auto method : {Method::none, Method::lz4}) {
    ArchiveBuilder archive;
    archive.segments(wal, 1, 3, method);
    const auto directory = archive.disk.open();
    auto verifier = verifier_at(*directory, options_of(wal), kSize.start(3));
    EXPECT_EQ(verifier.newest_record_start(), begin);
    EXPECT_FALSE(verifier.feed(ArchiveBuilder::content(wal, 3)));
  }
}

TEST(Border, KnowsTheFrontThatWasWrittenOnTheTimelineBefore) {
  auto wal = wal_with_crossing_record(200, 1'000);
  const auto content = ArchiveBuilder::content(wal, 2);
  test::Bytes damaged(content.begin(), content.end());
  damaged[damaged.size() - 100] ^= std::byte{4};
  auto options = options_of(wal);
  options.timeline = 2;
  struct Case {
    const char* switched;  // where timeline 1 ended
    bool known;            // whether its segment 2 is what comes before
  };
  for (const auto& each :
       {Case{"0/350000", true}, {"0/300000", true}, {"0/280000", false}, {"0/1F0000", false}}) {
    SCOPED_TRACE(each.switched);
    ArchiveBuilder archive;
    archive.disk.put(ArchiveBuilder::name(wal, 2), damaged);
    archive.disk.put("00000002.history",
                     test::bytes_of(fmt::format("1\t{}\tno recovery target\n", each.switched)));
    const auto directory = archive.disk.open();
    auto verifier = verifier_at(*directory, options, kSize.start(3));
    EXPECT_EQ(verifier.inside_record(), each.known);
    EXPECT_EQ(verifier.feed(ArchiveBuilder::content(wal, 3)).has_value(), each.known);
  }
}

/// WAL whose segment 2 ends with an xlog switch that begins `before` bytes ahead of the end of its
/// page, `pages` pages ahead of the end of the segment; segments 3 and 4 end with one, too.
testing::WalBuilder wal_with_switches(unsigned pages, std::uint64_t before) {
  testing::WalBuilder wal({.segment_size = kSize,
                           .start = kSize.start(1),
                           .switch_every = 0,
                           .abort_every = 0,
                           .large_every = 0});
  const Lsn page_end(kSize.start(3).byte() - pages * wal::kPageSize);
  while (page_end - wal.end() > 2 * wal::kPageSize) wal.append_random(400);
  while (page_end - wal.end() > wal::kPageSize - wal::kShortHeaderSize) wal.append_random(24);
  wal.append_up_to(Lsn(page_end.byte() - before));
  wal.append_switch();
  for (int segment = 3; segment <= 4; ++segment) {
    wal.append_random(900);
    wal.append_switch();
  }
  wal.append_random(900);
  return wal;
}

struct Switch {
  const char* name;
  unsigned pages;        ///< from the end of its page to that of the segment
  std::uint64_t before;  ///< it begins so far ahead of the end of its page
};
constexpr Switch kSwitches[] = {
    {"in the first page", 127, 4'000},
    {"in the middle", 60, 4'000},
    {"ends at a page's end", 60, 24},
    {"crosses a page's end", 60, 16},
    {"in the last page", 0, 4'000},
    {"in the last page, near the end", 0, 32},
    {"ends at the end of the segment", 0, 24},
};

TEST(Border, CarriesTheLinkThroughWhatAnXlogSwitchLeavesEmpty) {
  for (const auto& each : kSwitches)
    for (const auto method : {Method::none, Method::zstd, Method::lz4, Method::gzip}) {
      SCOPED_TRACE(fmt::format("{}, {}", each.name, static_cast<int>(method)));
      auto wal = wal_with_switches(each.pages, each.before);
      ArchiveBuilder archive;
      archive.segments(wal, 1, 5, method);
      const auto directory = archive.disk.open();
      for (const std::uint64_t segno : {3, 4, 5}) {
        auto verifier = verifier_at(*directory, options_of(wal), kSize.start(segno));
        EXPECT_EQ(verifier.position(), kSize.start(segno));
        EXPECT_FALSE(verifier.inside_record());
        EXPECT_TRUE(verifier.newest_record_start().valid());
        auto continued = verifier;
        EXPECT_FALSE(continued.feed(wal.bytes(kSize.start(segno), kSize.start(segno) + 950)));
        // Another server came by another way to the same place.
        testing::WalBuilder other({.segment_size = kSize, .start = kSize.start(segno - 1)});
        other.append_random(1'200);
        other.append_switch();
        other.append_random(900);
        const auto damage =
            verifier.feed(other.bytes(kSize.start(segno), kSize.start(segno) + 950));
        ASSERT_TRUE(damage);
        EXPECT_NE(damage->what.find("link to the previous record"), std::string::npos);
      }
    }
}

TEST(Border, CarriesTheLinkOfAnXlogSwitchThatItselfCrossesABorder) {
  for (const auto method : {Method::none, Method::zstd})
    for (const std::uint64_t before : {8, 16}) {
      SCOPED_TRACE(before);
      auto wal = wal_with_switches(0, before);
      // The switch took segment 3 with it.
      const auto& records = wal.records();
      const auto found = std::find_if(records.begin(), records.end(), [](const auto& each) {
        return each.kind == testing::WalBuilder::Kind::xlog_switch;
      });
      ASSERT_EQ(found->start, Lsn(kSize.start(3).byte() - before));
      ArchiveBuilder archive;
      archive.segments(wal, 1, 4, method);
      const auto directory = archive.disk.open();
      const auto verifier = verifier_at(*directory, options_of(wal), kSize.start(4));
      EXPECT_EQ(verifier.newest_record_start(), found->start);
    }
}

TEST(Border, TakesPageHeadersBehindAnXlogSwitchForNothing) {
  // As walsenders of PostgreSQL 17 may send them.
  auto wal = wal_with_switches(60, 4'000);
  const auto content = ArchiveBuilder::content(wal, 2);
  test::Bytes filled(content.begin(), content.end());
  for (auto offset = kSize.bytes() - 59 * wal::kPageSize; offset < kSize.bytes();
       offset += wal::kPageSize) {
    std::copy_n(content.begin() + wal::kPageSize, wal::kShortHeaderSize,
                filled.begin() + static_cast<std::ptrdiff_t>(offset));
    const auto address = (kSize.start(2) + offset).byte();
    std::memcpy(filled.data() + offset + 8, &address, sizeof address);
  }
  for (const bool records : {false, true}) {
    SCOPED_TRACE(records);
    if (records) std::fill(filled.end() - 5'000, filled.end() - 4'000, std::byte{7});
    std::fill(filled.end() - 8'168, filled.end() - 8'000, records ? std::byte{7} : std::byte{0});
    ArchiveBuilder archive;
    archive.disk.put(ArchiveBuilder::name(wal, 2), filled);
    const auto directory = archive.disk.open();
    const auto verifier = verifier_at(*directory, options_of(wal), kSize.start(3));
    EXPECT_EQ(verifier.newest_record_start(),
              Lsn(kSize.start(3).byte() - 60 * wal::kPageSize - 4'000));
    const auto tail = tail_before(*directory, options_of(wal), kSize.start(3));
    ASSERT_TRUE(tail);
    EXPECT_EQ(tail->begin + tail->wal.size(), verifier.records_end());
  }
}

TEST(Border, GivesTheTailThatAnotherServerMustHave) {
  for (const auto& each : kSwitches)
    for (const auto method : {Method::none, Method::zstd, Method::lz4, Method::gzip}) {
      SCOPED_TRACE(fmt::format("{}, {}", each.name, static_cast<int>(method)));
      auto wal = wal_with_switches(each.pages, each.before);
      ArchiveBuilder archive;
      archive.segments(wal, 1, 5, method);
      const auto directory = archive.disk.open();
      const auto tail = tail_before(*directory, options_of(wal), kSize.start(3));
      ASSERT_TRUE(tail);
      EXPECT_EQ(tail->file, ArchiveBuilder::name(wal, 2, method));
      EXPECT_EQ(tail->timeline, 1U);
      const Lsn page_end(kSize.start(3).byte() - each.pages * wal::kPageSize);
      const auto end = tail->begin + tail->wal.size();
      const Lsn switch_end(page_end.byte() - each.before + 24 + (each.before < 24 ? 24 : 0));
      EXPECT_EQ(end, std::min(switch_end, kSize.start(3)));
      EXPECT_EQ(tail->begin.byte() % wal::kPageSize, 0U);
      EXPECT_LE(tail->begin, Lsn(page_end.byte() - wal::kPageSize));
      EXPECT_GE(tail->begin, kSize.start(2));
      EXPECT_LE(tail->wal.size(), 9 * wal::kPageSize);
      EXPECT_TRUE(std::ranges::equal(tail->wal, wal.bytes(tail->begin, end)));
    }
}

TEST(Border, GivesTheTailOfARecordThatCrossesIt) {
  for (const std::uint32_t length : {1'000U, 70'000U, 1'200'000U}) {
    SCOPED_TRACE(length);
    auto wal = wal_with_crossing_record(200, length);
    ArchiveBuilder archive;
    archive.segments(wal, 1, 4);
    const auto directory = archive.disk.open();
    for (const std::uint64_t segno : {3, 4}) {
      const auto tail = tail_before(*directory, options_of(wal), kSize.start(segno));
      ASSERT_TRUE(tail);
      EXPECT_EQ(tail->file, ArchiveBuilder::name(wal, segno - 1));
      const auto end = tail->begin + tail->wal.size();
      if (segno == 3 || length > kSize.bytes()) {
        EXPECT_EQ(end, kSize.start(segno));
      }
      EXPECT_TRUE(std::ranges::equal(tail->wal, wal.bytes(tail->begin, end)));
      EXPECT_TRUE(tail->verifier);
    }
  }
}

TEST(Border, GivesTheTailOfALongRecordWithoutItsBegin) {
  auto wal = wal_with_crossing_record(200, 1'200'000);
  ArchiveBuilder archive;
  archive.segments(wal, 3, 4);
  const auto tail = tail_before(*archive.disk.open(), options_of(wal), kSize.start(4));
  ASSERT_TRUE(tail);
  EXPECT_FALSE(tail->verifier);
  EXPECT_EQ(tail->begin + tail->wal.size(), kSize.start(4));
  EXPECT_TRUE(std::ranges::equal(tail->wal, wal.bytes(tail->begin, kSize.start(4))));
}

TEST(Border, GivesTheTailBeforeASwitchOfTheTimeline) {
  auto wal = wal_with_crossing_record(200, 1'000);
  const auto fork = wal.fork_point(kSize.start(3) + 300'000);
  for (const auto method : {Method::none, Method::zstd}) {
    ArchiveBuilder archive;
    archive.segments(wal, 1, 4, method);
    const auto directory = archive.disk.open();
    const auto tail = tail_before(*directory, options_of(wal), fork);
    ASSERT_TRUE(tail);
    EXPECT_EQ(tail->file, ArchiveBuilder::name(wal, 3, method));
    EXPECT_EQ(tail->begin + tail->wal.size(), fork);
    EXPECT_TRUE(std::ranges::equal(tail->wal, wal.bytes(tail->begin, fork)));
    // Of the next timeline there is no such segment, only one that is not finished.
    auto options = options_of(wal);
    options.timeline = 2;
    EXPECT_FALSE(tail_before(*directory, options, fork));
  }
}

TEST(Border, GivesTheTailOfTheTimelineBefore) {
  auto wal = wal_with_crossing_record(200, 1'000);
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  archive.history(2, "1\t0/310000\tno recovery target\n");
  auto options = options_of(wal);
  options.timeline = 2;
  const auto tail = tail_before(*archive.disk.open(), options, kSize.start(3));
  ASSERT_TRUE(tail);
  EXPECT_EQ(tail->file, ArchiveBuilder::name(wal, 2));
  EXPECT_EQ(tail->timeline, 1U);
}

TEST(Border, BeginsAfreshWhereTheSegmentBeforeCannotTell) {
  auto wal = wal_with_crossing_record(200, 1'000);
  struct Case {
    const char* name;
    std::function<void(ArchiveBuilder&)> make;
  };
  const std::string name = ArchiveBuilder::name(wal, 2);
  const Case cases[] = {
      {"nothing there", [](ArchiveBuilder&) {}},
      {"only unfinished",
       [&](ArchiveBuilder& archive) { archive.partial(wal, kSize.start(2) + 5'000); }},
      {"too short",
       [&](ArchiveBuilder& archive) {
         archive.disk.put(name, wal.bytes(kSize.start(2), kSize.start(2) + 8'192));
       }},
      {"zeros",
       [&](ArchiveBuilder& archive) { archive.disk.put(name, test::Bytes(kSize.bytes())); }},
      {"no such frame",
       [&](ArchiveBuilder& archive) { archive.disk.put(name + ".zst", test::pattern(1'000, 1)); }},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    ArchiveBuilder archive;
    each.make(archive);
    const auto directory = archive.disk.open();
    auto verifier = verifier_at(*directory, options_of(wal), kSize.start(3));
    EXPECT_EQ(verifier.position(), kSize.start(3));
    EXPECT_FALSE(verifier.inside_record());
    EXPECT_FALSE(verifier.feed(ArchiveBuilder::content(wal, 3)));
    EXPECT_FALSE(tail_before(*directory, options_of(wal), kSize.start(3)));
  }
}

}  // namespace
}  // namespace weir::archive::border_test
