#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "archive/find_losses.h"
#include "archive/home.h"
#include "status/check.h"
#include "status/report.h"
#include "status/text.h"
#include "store/ledger/mark.h"
#include "support/archive_builder.h"

namespace weir::status::losses_test {
namespace {

using archive::Loss;
using codec::Method;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

WalBuilder::Options ordinary() {
  WalBuilder::Options options;
  options.switch_every = 0;
  options.abort_every = 0;
  return options;
}

StatusReport report_of(ArchiveBuilder& archive) {
  const auto directory = archive.disk.open();
  return make_report(*directory);
}

TEST(StatusOfLosses, HasWhatIsNoSegmentByItsSizeAsAHole) {
  WalBuilder wal{ordinary()};
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 8).segments(wal, 8, 9, Method::zstd);
  EXPECT_THAT(report_of(archive).holes, IsEmpty());
  const auto name = [&](std::uint64_t segno) { return ArchiveBuilder::name(wal, segno); };
  archive.disk.put(name(4), {});
  archive.disk.put(name(5), test::Bytes(5000));
  const auto report = report_of(archive);
  ASSERT_THAT(report.holes, SizeIs(1));
  EXPECT_EQ(report.holes[0].id, "hole-1-0-400000");
  EXPECT_EQ(report.holes[0].from, kSize.start(4));
  EXPECT_EQ(report.holes[0].to, kSize.start(6));
  EXPECT_EQ(report.holes[0].segments, 2u);
  EXPECT_THAT(report.damaged, IsEmpty());
  ASSERT_THAT(report.windows, SizeIs(2));
  EXPECT_EQ(report.windows[0].from, kSize.start(6));
  EXPECT_EQ(report.windows[1].to, kSize.start(4)) << "nothing is promised over it";
  EXPECT_EQ(check(report, {}).level, Level::critical);
  EXPECT_THAT(status_text(report), HasSubstr(name(5) + " has 5000 bytes"));
  const auto json = nlohmann::json::parse(status_json(report));
  EXPECT_THAT(json["holes"][0]["cause"].get<std::string>(), HasSubstr(name(4) + " has 0 bytes"));
  // All of its files are counted as what they are.
  EXPECT_EQ(report.timelines[0].forms.at(Method::none).count, 7u);
}

TEST(StatusOfLosses, HasWhatIsMissingBeforeTheUnfinishedSegment) {
  WalBuilder wal{ordinary()};
  wal.grow_to(kSize.start(5));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3).partial(wal, kSize.start(4) + 300'000);
  const auto report = report_of(archive);
  ASSERT_THAT(report.holes, SizeIs(1));
  EXPECT_EQ(report.holes[0].id, "hole-1-0-300000");
  EXPECT_EQ(report.holes[0].to, kSize.start(4));
  ASSERT_THAT(report.windows, SizeIs(2));
  EXPECT_EQ(report.windows[0].from, kSize.start(4));
  EXPECT_EQ(report.windows[1].to, kSize.start(3));
  EXPECT_EQ(check(report, {}).level, Level::critical);
  EXPECT_THAT(check(report, {}).line, HasSubstr("missing=1;"));
  EXPECT_THAT(status_text(report), HasSubstr("a receiver that is started while that one is"));
}

TEST(StatusOfLosses, PromisesNothingOverWhatAReceiverHasFoundInsideAFile) {
  WalBuilder wal{ordinary()};
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 9, Method::zstd);
  archive.disk.put(ArchiveBuilder::name(wal, 4, Method::zstd),
                   verify::packed(Method::zstd, test::Bytes(5000)));
  EXPECT_THAT(report_of(archive).holes, IsEmpty()) << "its own size tells nothing";
  Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = loss.counted_to = kSize.start(4);
  loss.end = kSize.start(5);
  loss.segment_size = kSize;
  archive::record_loss(*archive.disk.open(), loss);
  const auto report = report_of(archive);
  ASSERT_THAT(report.holes, SizeIs(1));
  ASSERT_THAT(report.windows, SizeIs(2));
  EXPECT_EQ(report.windows[1].to, kSize.start(4));
  EXPECT_EQ(report.windows[0].from, kSize.start(5));
}

/// A loss that precedes the local segments: a recovery with the store still ends before it.
TEST(StatusOfLosses, PromisesNothingOverAHoleBeforeTheArchivesStart) {
  WalBuilder wal{ordinary()};
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 5, 9);
  const auto directory = archive.disk.open();
  archive::DirectoryHome home(*directory);
  const auto identity = report_of(archive).identity;
  ASSERT_TRUE(identity);
  store::Mark mark{
      .store = "x", .system_identifier = identity->system_identifier, .segment_size = kSize};
  for (std::uint64_t segno = 1; segno < 9; ++segno) mark.add({1, segno, kSize});
  store::keep_mark(home, mark);
  const auto stored_from = [&] {
    const auto report = report_of(archive);
    EXPECT_THAT(report.holes, IsEmpty());
    return report.windows.at(0).stored_from;
  };
  EXPECT_EQ(stored_from(), kSize.start(1));
  Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = loss.counted_to = kSize.start(2);
  loss.end = kSize.start(3);
  loss.segment_size = kSize;
  archive::record_loss(*directory, loss);
  EXPECT_EQ(stored_from(), kSize.start(3));
}

TEST(StatusOfLosses, CallsAWrongSizeAtAnEndDamage) {
  WalBuilder wal{ordinary()};
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 9);
  archive.disk.put(ArchiveBuilder::name(wal, 1), {});
  archive.disk.put(ArchiveBuilder::name(wal, 8), test::Bytes(8192));
  const auto report = report_of(archive);
  EXPECT_THAT(report.holes, IsEmpty());
  EXPECT_THAT(report.damaged,
              ElementsAre(HasSubstr(
                  "complete segments of the wrong size: 000000010000000000000001 has 0 bytes, "
                  "000000010000000000000008 has 8192 bytes")));
  EXPECT_EQ(report.timelines[0].from, kSize.start(2));
  EXPECT_EQ(report.timelines[0].to, kSize.start(8));
}

/// A hole of timeline 2 is known; a recovery to an earlier position then starts timeline 3.
TEST(StatusOfLosses, HasAHoleBesideAKnownOneOfAnotherBranch) {
  WalBuilder one{ordinary()};
  one.grow_to(kSize.start(9));
  const auto fork = one.fork_point(kSize.start(4) + 400'000);
  auto two = verify::promote(one, fork, 2, 9);
  two.grow_to(kSize.start(9));
  auto three = verify::promote(one, fork, 3, 10);
  three.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(one, 1, 4).segments(two, 4, 5).segments(two, 8, 9);
  archive.segments(three, 4, 6).segments(three, 8, 9);
  archive.history(2, verify::history_line(1, fork)).history(3, verify::history_line(1, fork));
  Loss hole;
  hole.timeline = hole.next_timeline = 2;
  hole.begin = hole.sound_end = hole.counted_to = kSize.start(5);
  hole.end = kSize.start(8);
  hole.segment_size = kSize;
  const auto directory = archive.disk.open();
  record_loss(*directory, hole);
  acknowledge_loss(*directory, hole, {"2026-11-20 10:00:00+00", "ann", "known"});

  auto report = report_of(archive);
  ASSERT_THAT(report.holes, SizeIs(2));
  EXPECT_TRUE(report.holes[0].acknowledged);
  EXPECT_EQ(report.holes[1].id, "hole-3-0-600000");
  EXPECT_EQ(report.holes[1].to, kSize.start(8));
  EXPECT_FALSE(report.holes[1].acknowledged);
  report.free_bytes = std::uint64_t{1} << 40;
  const auto checked = check(report, {});
  EXPECT_TRUE(std::any_of(checked.findings.begin(), checked.findings.end(), [](const auto& each) {
    return each.level == Level::critical &&
           each.text.find("2 segments missing from 0/600000 to 0/800000") != std::string::npos;
  })) << checked.line;
}

/// A recovery to a position before a hole starts a timeline, which does not have the hole.
TEST(StatusOfLosses, PromisesAllOfATimelineThatHasLeftTheOneWithAHole) {
  WalBuilder one{ordinary()};
  one.grow_to(kSize.start(9));
  const auto fork = one.fork_point(kSize.start(4) + 400'000);
  auto two = verify::promote(one, fork, 2, 9);
  two.grow_to(kSize.start(7));
  ArchiveBuilder archive;
  archive.segments(one, 1, 5).segments(one, 8, 9);
  archive.history(2, verify::history_line(1, fork)).segments(two, 4, 6);
  archive.partial(two, kSize.start(6) + 300'000);
  Loss hole;
  hole.timeline = hole.next_timeline = 1;
  hole.begin = hole.sound_end = hole.counted_to = kSize.start(5);
  hole.end = kSize.start(8);
  hole.segment_size = kSize;
  record_loss(*archive.disk.open(), hole);
  const auto report = report_of(archive);
  ASSERT_THAT(report.holes, SizeIs(1));
  EXPECT_EQ(report.holes[0].timeline, 1u);
  ASSERT_THAT(report.timelines, SizeIs(2));
  EXPECT_THAT(report.timelines[0].missing, ElementsAre(SegnoRange{5, 8}));
  EXPECT_THAT(report.timelines[1].missing, IsEmpty());
  ASSERT_THAT(report.windows, SizeIs(1));
  EXPECT_EQ(report.windows[0].timeline, 2u);
  EXPECT_EQ(report.windows[0].from, kSize.start(1));
  EXPECT_TRUE(report.windows[0].newest);
  EXPECT_TRUE(report.windows[0].with_partial);
  EXPECT_EQ(report.windows[0].to, two.complete_end(kSize.start(6) + 300'000));
}

/// A kill leaves two unfinished segments, the first one incomplete, and the hole ends between them.
TEST(StatusOfLosses, PromisesNoWalBehindTheEndOfAHoleOfAnotherBranch) {
  WalBuilder one{ordinary()};
  one.grow_to(kSize.start(9));
  const auto fork = one.fork_point(kSize.start(4) + 400'000);
  auto two = verify::promote(one, fork, 2, 9);
  two.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(one, 1, 5).segments(one, 8, 9);
  archive.history(2, verify::history_line(1, fork)).segments(two, 4, 7);
  archive.partial(two, kSize.start(7) + 300'000).partial(two, kSize.start(8) + 300'000);
  Loss hole;
  hole.timeline = hole.next_timeline = 1;
  hole.begin = hole.sound_end = hole.counted_to = kSize.start(5);
  hole.end = kSize.start(8);
  hole.segment_size = kSize;
  const auto directory = archive.disk.open();
  record_loss(*directory, hole);
  auto report = make_report(*directory);
  ASSERT_THAT(report.holes, SizeIs(1));
  ASSERT_THAT(report.windows, SizeIs(1));
  EXPECT_EQ(report.windows[0].timeline, 2u);
  EXPECT_EQ(report.windows[0].to, two.complete_end(kSize.start(7) + 300'000));

  // Likewise where it breaks off.
  archive.flip(ArchiveBuilder::name(two, 7, Method::none, true), 100'000, 3);
  report = make_report(*directory);
  look_for_break(report, *directory);
  ASSERT_TRUE(report.breaks_off);
  EXPECT_GT(report.breaks_off->at, kSize.start(7));
  EXPECT_LE(report.breaks_off->at, kSize.start(7) + 100'000);
}

/// A standby that lags behind is promoted in a hole.
TEST(StatusOfLosses, PromisesTheUnfinishedWalOfATimelineThatBeginsInAHole) {
  WalBuilder one{ordinary()};
  one.grow_to(kSize.start(9));
  const auto fork = one.fork_point(kSize.start(7) + 400'000);
  auto two = verify::promote(one, fork, 2, 9);
  two.grow_to(kSize.start(8));
  ArchiveBuilder archive;
  archive.segments(one, 1, 5).segments(one, 8, 9).history(2, verify::history_line(1, fork));
  archive.partial(two, kSize.start(7) + 900'000);
  Loss hole;
  hole.timeline = hole.next_timeline = 1;
  hole.begin = hole.sound_end = hole.counted_to = kSize.start(5);
  hole.end = kSize.start(8);
  hole.segment_size = kSize;
  record_loss(*archive.disk.open(), hole);
  const auto report = report_of(archive);
  ASSERT_THAT(report.holes, SizeIs(1));
  ASSERT_THAT(report.windows, SizeIs(2));
  EXPECT_EQ(report.windows[0].timeline, 2u);
  EXPECT_EQ(report.windows[0].from, kSize.start(7));
  EXPECT_TRUE(report.windows[0].newest);
  EXPECT_EQ(report.windows[0].to, two.complete_end(kSize.start(7) + 900'000));
  EXPECT_EQ(report.windows[1].to, kSize.start(5));
  EXPECT_FALSE(report.windows[1].newest);
}

TEST(StatusOfLosses, HasABranchThatNobodyHasRecorded) {
  struct Case {
    const char* name;
    std::uint64_t partial;  ///< of timeline 1 behind the switchpoint; 0: up to it
    Method method;
    bool lost;
  };
  for (const auto& c : {Case{"up to the switchpoint", 0, Method::none, false},
                        Case{"more of it, raw", 200'000, Method::none, true},
                        Case{"more of it, compressed", 200'000, Method::gzip, true}}) {
    SCOPED_TRACE(c.name);
    WalBuilder one{ordinary()};
    one.grow_to(kSize.start(9));
    const auto fork = one.fork_point(kSize.start(5) + 400'000);
    auto two = verify::promote(one, fork, 2, 9);
    two.grow_to(kSize.start(8));
    ArchiveBuilder archive;
    archive.segments(one, 1, 5, Method::zstd).segments(two, 5, 7);
    archive.partial(one, c.lost ? fork + c.partial : fork, ArchiveBuilder::Tail::zeros, c.method);
    archive.history(2, verify::history_line(1, fork));
    auto report = report_of(archive);
    ASSERT_THAT(report.lost_branches, SizeIs(c.lost ? 1 : 0));
    if (!c.lost) continue;
    // As "pgweir ack" and verify see it.
    const auto directory = archive.disk.open();
    const auto listing = archive::list_archive(*directory);
    const auto found = archive::find_unrecorded_losses(
        *directory, listing, archive::Timelines::read(*directory, listing), kSize, {});
    ASSERT_THAT(found, SizeIs(1));
    EXPECT_EQ(report.lost_branches[0].id(), found[0].id());
    EXPECT_EQ(report.lost_branches[0].end, found[0].end);
    EXPECT_EQ(check(report, {}).level, Level::critical);
    EXPECT_THAT(status_text(report), HasSubstr("LOST BY A FAILOVER"));
    // Recorded it is told once.
    archive::record_loss(*directory, found[0]);
    report = report_of(archive);
    ASSERT_THAT(report.lost_branches, SizeIs(1));
    EXPECT_TRUE(report.lost_branches[0].recorded);
  }
}

}  // namespace
}  // namespace weir::status::losses_test
