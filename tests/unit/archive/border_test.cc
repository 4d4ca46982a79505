#include "archive/border.h"

#include <gtest/gtest.h>

#include "support/archive_builder.h"

namespace weir::archive {
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
  }
}

}  // namespace
}  // namespace weir::archive
