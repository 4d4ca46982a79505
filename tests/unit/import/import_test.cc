#include "import/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <random>

#include "archive/compress.h"
#include "archive/losses.h"
#include "archive/own_names.h"
#include "archive/resume.h"
#include "base/error.h"
#include "support/archive_builder.h"
#include "support/error_of.h"

namespace weir::importing::import_test {
namespace {

using archive::Loss;
using codec::Method;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;
using wal::SegmentName;

std::string name(std::uint64_t segno, const char* suffix = "", wal::TimelineId timeline = 1) {
  return SegmentName(timeline, segno, kSize).to_string() + suffix;
}

/// WAL of segments 1 to 12, made once.
WalBuilder& the_wal() {
  static auto made = [] {
    WalBuilder wal{WalBuilder::Options{}};
    wal.grow_to(kSize.start(13));
    return wal;
  }();
  return made;
}

/// An archive with segments 1 to 3 and 8 to 10, and 11 unfinished: 4 to 7 are missing.
struct Example {
  explicit Example(std::uint64_t begin = 1, std::uint64_t hole_end = 8, std::uint64_t end = 11) {
    archive.segments(wal, begin, 4).segments(wal, hole_end, end);
    archive.partial(wal, kSize.start(end) + 300'000);
  }
  /// A directory with these.
  ArchiveBuilder& offer(std::uint64_t first, std::uint64_t behind, Method method = Method::none) {
    return other.segments(wal, first, behind, method);
  }
  Result run(Options options = {}) {
    std::shared_ptr<io::Directory> source = other.disk.open();
    const auto directory = archive.disk.open();
    return import_wal(*directory, {{source}}, options);
  }
  /// Every segment of the archive is what the server wrote, and none is missing from 1 up to there.
  void expect_whole(std::uint64_t behind) {
    const auto report = verify();
    EXPECT_TRUE(report.sound()) << to_text(report);
    for (std::uint64_t segno = 1; segno < behind; ++segno)
      if (archive.disk.exists(name(segno))) {
        EXPECT_TRUE(archive.disk.holds(name(segno), 0, ArchiveBuilder::content(wal, segno)));
      }
    ASSERT_THAT(report.histories, SizeIs(1));
    ASSERT_THAT(report.histories[0].sound, SizeIs(1));
    EXPECT_GE(report.histories[0].sound[0].end, kSize.start(behind));
  }
  /// A gap that stays is not waited for.
  verify::Report verify() {
    verify::Options options;
    options.look_again_after = std::chrono::milliseconds(0);
    return archive.verify(options);
  }
  std::vector<Loss> holes() {
    const auto directory = archive.disk.open();
    return read_losses(*directory, archive::list_archive(*directory));
  }
  WalBuilder& wal = the_wal();
  ArchiveBuilder archive;
  ArchiveBuilder other;
};

std::vector<std::string> names_of(const Result& result) {
  std::vector<std::string> names;
  for (const auto& each : result.came) names.push_back(each.name);
  return names;
}

std::string told(const Result& result) {
  std::string text;
  for (const auto& each : result.left_out) text += each.path + ": " + each.what + "\n";
  for (const auto& each : result.unvouched) text += each.text() + "\n";
  return text;
}

Loss hole(std::uint64_t begin, std::uint64_t end) {
  Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = loss.counted_to = kSize.start(begin);
  loss.end = kSize.start(end);
  loss.segment_size = kSize;
  loss.cause = "accepted with --on-gap continue";
  return loss;
}

TEST(Import, MendsAHoleFromEachForm) {
  for (const auto method : {Method::none, Method::gzip, Method::lz4, Method::zstd}) {
    Example example;
    example.offer(4, 8, method);
    const auto result = example.run();
    EXPECT_THAT(result.came, SizeIs(4)) << told(result);
    EXPECT_EQ(result.reason(), Reason::not_asked_for);
    EXPECT_THAT(result.left_out, IsEmpty());
    EXPECT_THAT(result.holes, IsEmpty());
    example.expect_whole(11);
    // Once more: nothing is left to do.
    const auto again = example.run();
    EXPECT_THAT(again.came, IsEmpty());
    EXPECT_EQ(again.present, 4u);
    EXPECT_EQ(again.reason(), Reason::not_asked_for);
  }
}

TEST(Import, TakesWholePartialsAndLeavesUnfinishedOnes) {
  Example example;
  example.offer(4, 7);
  // Complete, under the name of an unfinished one, as a pg_receivewal leaves it that was stopped.
  example.other.partial(example.wal, Lsn(kSize.start(8).byte() - 8), ArchiveBuilder::Tail::none);
  auto bytes = ArchiveBuilder::content(example.wal, 7);
  example.other.disk.put(name(7, ".gz.partial"), verify::packed(Method::gzip, bytes));
  example.other.disk.put(name(7, ".partial"), bytes.first(bytes.size() / 2));
  const auto result = example.run();
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(5), name(6), name(7)));
  EXPECT_EQ(result.reason(), Reason::not_asked_for) << told(result);
  example.expect_whole(11);
}

TEST(Import, ComparesWhatIsThereAndTouchesNothing) {
  Example example;
  example.offer(1, 11, Method::zstd);
  // Sound WAL of another branch under the archive's own name.
  const auto other =
      example.wal.other_branch(example.wal.fork_point(kSize.start(9) + 5000), 3, true);
  auto copy = other;
  example.other.disk.put(name(9, ".zst"),
                         verify::packed(Method::zstd, ArchiveBuilder::content(copy, 9)));
  const auto before = example.archive.disk.content(name(9));
  const auto result = example.run();
  EXPECT_THAT(names_of(result),
              ElementsAre(name(4, ".zst"), name(5, ".zst"), name(6, ".zst"), name(7, ".zst")));
  EXPECT_EQ(result.present, 5u);
  ASSERT_THAT(result.left_out, SizeIs(1));
  EXPECT_THAT(result.left_out[0].path, HasSubstr(name(9)));
  EXPECT_THAT(result.left_out[0].what, HasSubstr(name(9)));
  EXPECT_EQ(result.reason(), Reason::conflict);
  EXPECT_EQ(example.archive.disk.content(name(9)), before);
}

TEST(Import, DoesNotTakeItsOwnSegmentForDamagedIfThatIsCompressedMeanwhile) {
  bool over = false;
  for (int at = 1; !over; ++at) {
    SCOPED_TRACE(::testing::Message() << "compressed before it is opened for time " << at);
    Example example;
    example.offer(9, 10);
    example.other.flip(name(9), 500'000, 2);
    auto& disk = example.archive.disk;
    int opened = 0;
    disk.set_hook([&](const sim::SimDisk::Call& call) {
      if (call.name != name(9) || call.operation != sim::SimDisk::Operation::open || ++opened != at)
        return sim::SimDisk::Effect::proceed();
      disk.put(name(9, ".zst"), verify::packed(Method::zstd, disk.content(name(9))));
      disk.erase(name(9));
      return sim::SimDisk::Effect::proceed();
    });
    const auto result = example.run();
    over = opened < at;
    EXPECT_NE(result.reason(), Reason::conflict) << told(result);
    if (over) {
      ASSERT_THAT(result.left_out, SizeIs(1));
      EXPECT_EQ(result.reason(), Reason::not_sound);
      EXPECT_GT(at, 3);
    }
  }
}

TEST(Import, LeavesOutWhatIsNewerOrOlder) {
  Example example;
  example.archive.disk.erase(name(1));
  example.offer(1, 13);
  const auto result = example.run();
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(5), name(6), name(7)));
  EXPECT_THAT(result.left_out, SizeIs(3)) << told(result);  // 1, 11, 12
  EXPECT_EQ(result.reason(), Reason::not_asked_for);
  const auto more = example.run({.extend = true});
  EXPECT_THAT(names_of(more), ElementsAre(name(1), name(11), name(12))) << told(more);
  example.expect_whole(13);
}

TEST(Import, FillsAnEmptyArchiveOnlyIfAskedTo) {
  Example example;
  for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
  example.offer(2, 5).segments(example.wal, 7, 10, Method::zstd);
  EXPECT_THAT(example.run().came, IsEmpty());
  EXPECT_THAT(example.archive.disk.names(), IsEmpty());
  const auto result = example.run({.extend = true});
  // Not with a hole in it: the newest row of segments.
  EXPECT_THAT(names_of(result), ElementsAre(name(7, ".zst"), name(8, ".zst"), name(9, ".zst")));
  EXPECT_EQ(result.reason(), Reason::not_sound) << told(result);
  EXPECT_THAT(result.open, ElementsAre("3 files are damaged, or do not continue the archive's WAL, "
                                       "and were not imported"));
}

TEST(Import, RefusesARunThatFitsOnTheLeftOnly) {
  // Another branch: the same up to the middle of segment 4, and sound from there on.
  Example example;
  auto branch = example.wal.other_branch(example.wal.fork_point(kSize.start(4) + 5000), 77, false);
  branch.grow_to(kSize.start(9));
  for (std::uint64_t segno = 4; segno < 8; ++segno)
    example.other.disk.put(name(segno), ArchiveBuilder::content(branch, segno));
  const auto before = example.archive.disk.names();
  const auto result = example.run();
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_THAT(result.left_out, SizeIs(4)) << told(result);
  EXPECT_THAT(result.left_out, Each(Field(&LeftOut::what, HasSubstr("do not match"))));
  EXPECT_EQ(result.reason(), Reason::not_sound);
  EXPECT_EQ(example.archive.disk.names(), before);
}

TEST(Import, RefusesABranchOfTheSameLayoutByTheSegmentBesideIt) {
  // Idle servers: each record lies where the other one's lies. Without the segment beside it
  // nothing would tell where no record crosses the border.
  WalBuilder::Options options;
  options.switch_every = 0;
  WalBuilder wal(options);
  while (wal.end() < kSize.start(8)) {
    wal.append_random(2000);
    if (kSize.bytes() - kSize.offset(wal.end()) < 10'000) wal.append_switch();
  }
  for (const bool beside : {false, true}) {
    Example example;
    for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
    example.archive.segments(wal, 1, 3).segments(wal, 5, 7);
    auto branch = wal.other_branch(wal.fork_point(kSize.start(3) + 5000), 5, true);
    for (std::uint64_t segno = 3; segno < (beside ? 6u : 5u); ++segno)
      example.other.disk.put(name(segno), ArchiveBuilder::content(branch, segno));
    const auto result = example.run();
    EXPECT_THAT(result.came, SizeIs(beside ? 0 : 2)) << told(result);
    EXPECT_EQ(result.reason(), beside ? Reason::conflict : Reason::not_asked_for);
    if (beside) {
      EXPECT_THAT(told(result), HasSubstr("the adjacent "));
    }
  }
}

TEST(Import, RefusesWhatDoesNotFitOnTheLeft) {
  Example example;
  auto branch = example.wal.other_branch(example.wal.fork_point(kSize.start(2) + 5000), 78, false);
  branch.grow_to(kSize.start(9));
  for (std::uint64_t segno = 4; segno < 8; ++segno)
    example.other.disk.put(name(segno), ArchiveBuilder::content(branch, segno));
  const auto result = example.run();
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_EQ(result.reason(), Reason::not_sound) << told(result);
}

TEST(Import, TellsWhatNobodyCanVouchForOnTheRightUntilItIsLookedAtAgain) {
  Example example;
  example.offer(4, 6);
  const auto result = example.run();
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(5)));
  EXPECT_EQ(result.reason(), Reason::not_asked_for) << told(result);
  ASSERT_THAT(result.unvouched, SizeIs(1));
  EXPECT_TRUE(result.unvouched[0].right);
  EXPECT_FALSE(result.unvouched[0].left);
  EXPECT_THAT(result.holes, SizeIs(1));
  // It stays as long as the hole does.
  EXPECT_THAT(example.run().unvouched, SizeIs(1));
  example.offer(6, 8);
  const auto closed = example.run();
  EXPECT_THAT(names_of(closed), ElementsAre(name(6), name(7)));
  EXPECT_THAT(closed.unvouched, IsEmpty()) << told(closed);
  EXPECT_THAT(closed.holes, IsEmpty());
  example.expect_whole(11);
  for (const auto& left : example.archive.disk.names())
    EXPECT_FALSE(archive::is_unvouched_record(left)) << left;
}

TEST(Import, FindsAnotherBranchWhenTheHoleIsClosedByOtherMeans) {
  Example example;
  auto branch = example.wal.other_branch(example.wal.fork_point(kSize.start(4) + 5000), 77, false);
  branch.grow_to(kSize.start(9));
  example.other.disk.put(name(4), ArchiveBuilder::content(branch, 4));
  EXPECT_THAT(example.run().unvouched, SizeIs(1));
  example.other.disk.erase(name(4));
  // A copy by hand, of the right branch.
  example.archive.segments(example.wal, 5, 8);
  const auto result = example.run();
  ASSERT_THAT(result.unvouched, SizeIs(1));
  EXPECT_TRUE(result.unvouched[0].complaint);
  EXPECT_EQ(result.reason(), Reason::not_sound);
  // And the right one is not published beside it.
  example.offer(4, 5);
  EXPECT_EQ(example.run().reason(), Reason::conflict);
}

TEST(Import, TakesTheRightPartOfAHoleToo) {
  Example example;
  example.offer(6, 8);
  const auto result = example.run();
  EXPECT_THAT(names_of(result), ElementsAre(name(7), name(6))) << "from what vouches for them";
  ASSERT_THAT(result.unvouched, SizeIs(1));
  EXPECT_TRUE(result.unvouched[0].left);
  EXPECT_FALSE(result.unvouched[0].right);
  example.offer(4, 6);
  EXPECT_THAT(example.run().unvouched, IsEmpty());
  example.expect_whole(11);
}

TEST(Import, LeavesOutAllSegmentsOfADamagedRecord) {
  // One from 5 to 6: in which of the two the damage is nobody can say. 4 and 7 are sound.
  WalBuilder wal(WalBuilder::Options{.switch_every = 0, .abort_every = 0, .large_every = 0});
  wal.grow_to(Lsn(kSize.start(6).byte() - 40'000));
  wal.append_random(80'000);
  wal.grow_to(kSize.start(9));
  for (const auto at : {kSize.start(6).byte() - 20'000, kSize.start(6).byte() + 20'000}) {
    Example example;
    for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
    example.archive.segments(wal, 1, 4).segments(wal, 8, 9);
    example.other.segments(wal, 4, 8);
    example.other.flip(name(kSize.segno(Lsn(at))), kSize.offset(Lsn(at)), 1);
    const auto result = example.run();
    EXPECT_THAT(names_of(result), ElementsAre(name(4), name(7))) << told(result);
    EXPECT_THAT(result.left_out, SizeIs(2));
    EXPECT_EQ(result.reason(), Reason::not_sound);
    EXPECT_THAT(result.unvouched, SizeIs(2));
  }
}

TEST(Import, LeavesOutOnlyTheSegmentWithADamagedRecordInIt) {
  // The record over the border from 5 to 6 is sound, and the damage lies behind it.
  WalBuilder wal(WalBuilder::Options{.switch_every = 0, .abort_every = 0, .large_every = 0});
  wal.grow_to(Lsn(kSize.start(6).byte() - 40'000));
  wal.append_random(80'000);
  wal.grow_to(kSize.start(9));
  Example example;
  for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
  example.archive.segments(wal, 1, 4).segments(wal, 8, 9);
  example.other.segments(wal, 4, 8);
  example.other.flip(name(6), 500'000, 1);
  const auto result = example.run();
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(5), name(7))) << told(result);
  ASSERT_THAT(result.left_out, SizeIs(1)) << told(result);
  EXPECT_EQ(result.left_out[0].path.substr(result.left_out[0].path.rfind('/') + 1), name(6));
}

TEST(Import, TakesNoDamagedRecordForTheEndOfTheWal) {
  // It spans from 5 to 6, and behind it an xlog switch leaves 6 nearly empty, as in a segment that
  // a server still writes: 6 "ends there". Then 5 would come in with the damage.
  WalBuilder wal(WalBuilder::Options{.switch_every = 0, .abort_every = 0, .large_every = 0});
  wal.grow_to(Lsn(kSize.start(6).byte() - 2'000));
  wal.append_random(3'000);
  wal.append_switch();
  wal.grow_to(kSize.start(9));
  for (const auto at : {kSize.start(6).byte() - 100, kSize.start(6).byte() + 100}) {
    Example example;
    for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
    example.archive.segments(wal, 1, 4).segments(wal, 8, 9);
    example.other.segments(wal, 4, 7);
    example.other.flip(name(kSize.segno(Lsn(at))), kSize.offset(Lsn(at)), 1);
    example.other.disk.put("archive_status", {});
    const auto result = example.run();
    EXPECT_THAT(names_of(result), ElementsAre(name(4))) << told(result);
    EXPECT_THAT(result.left_out, SizeIs(2));
    EXPECT_EQ(result.reason(), Reason::not_sound);
  }
}

TEST(Import, LeavesOutWhatNothingReaches) {
  Example example;
  example.offer(5, 7);
  const auto result = example.run();
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_EQ(result.reason(), Reason::not_sound);
}

TEST(Import, RefusesAnotherCluster) {
  Example example;
  WalBuilder::Options options;
  options.system_identifier = 4711;
  WalBuilder strange(options);
  strange.grow_to(kSize.start(9));
  for (std::uint64_t segno = 4; segno < 8; ++segno)
    example.other.disk.put(name(segno), ArchiveBuilder::content(strange, segno));
  const auto result = example.run();
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_THAT(result.left_out, SizeIs(4));
  EXPECT_THAT(result.left_out, Each(Field(&LeftOut::what, HasSubstr("another cluster"))));
  EXPECT_EQ(result.reason(), Reason::conflict);
}

TEST(Import, RefusesATimelineThatIsNotOfTheHistory) {
  Example example;
  auto child = verify::promote(example.wal, example.wal.fork_point(kSize.start(4) + 9000), 5, 9);
  child.grow_to(kSize.start(9));
  example.other.segments(child, 4, 8);
  const auto result = example.run();
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_EQ(result.reason(), Reason::conflict) << told(result);
}

TEST(Import, NamesTheHistoryThatIsMissing) {
  const auto fork = the_wal().fork_point(kSize.start(4) + 9000);
  auto two = verify::promote(the_wal(), fork, 2, 9);
  two.grow_to(kSize.start(7));
  const auto hint = [&](ArchiveBuilder& archive, ArchiveBuilder& other) {
    std::shared_ptr<io::Directory> source = other.disk.open();
    const auto directory = archive.disk.open();
    const auto result = import_wal(*directory, {{source}}, {.extend = true});
    EXPECT_THAT(result.came, IsEmpty());
    return result.left_out.empty() ? "" : result.left_out[0].hint;
  };
  // That of the archive's own timeline. Timeline 1 has none.
  ArchiveBuilder of_two;
  of_two.segments(two, 4, 6);
  ArchiveBuilder earlier;
  earlier.segments(the_wal(), 1, 4);
  EXPECT_THAT(hint(of_two, earlier), HasSubstr("or 00000002.history is missing"));
  // That of the offered one.
  ArchiveBuilder of_one;
  of_one.segments(the_wal(), 1, 4);
  ArchiveBuilder later;
  later.segments(two, 4, 6);
  EXPECT_THAT(hint(of_one, later), HasSubstr("or 00000002.history is missing"));
}

TEST(Import, FollowsASwitchOfTimelinesInAHole) {
  // Timeline 2 begins in segment 5: the hole is 4 of timeline 1, 5 to 7 of timeline 2.
  auto one = the_wal();
  const auto at = one.fork_point(kSize.start(5) + 400'000);
  auto two = verify::promote(one, at, 2, 9);
  two.grow_to(kSize.start(10));
  Example example;
  for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
  example.archive.segments(one, 1, 4).segments(two, 8, 10);
  example.other.segments(one, 4, 6).segments(two, 5, 8);
  example.other.history(2, verify::history_line(1, at));
  const auto result = example.run();
  EXPECT_THAT(names_of(result), ElementsAre("00000002.history", name(4), name(5, "", 2),
                                            name(6, "", 2), name(7, "", 2)))
      << told(result);
  EXPECT_EQ(result.reason(), Reason::not_asked_for) << told(result);
  const auto report = example.verify();
  EXPECT_TRUE(report.sound()) << to_text(report);
}

/// A recovery to a position before a hole starts a timeline, which does not have the hole.
TEST(Import, TakesNoHoleOfABranchThatWasLeftForOneOfTheNewestTimeline) {
  const auto fork = the_wal().fork_point(kSize.start(3) + 400'000);
  auto two = verify::promote(the_wal(), fork, 2, 9);
  two.grow_to(kSize.start(7));
  ArchiveBuilder archive;
  archive.segments(the_wal(), 1, 4).segments(two, 3, 5).history(2, verify::history_line(1, fork));
  record_loss(*archive.disk.open(), hole(4, 8));
  ArchiveBuilder other;
  other.segments(two, 5, 6);
  std::shared_ptr<io::Directory> source = other.disk.open();
  const auto directory = archive.disk.open();
  auto result = import_wal(*directory, {{source}}, {});
  EXPECT_THAT(result.came, IsEmpty()) << "it is newer than the archive's WAL";
  result = import_wal(*directory, {{source}}, {.extend = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(5, "", 2))) << told(result);
  EXPECT_THAT(result.unvouched, IsEmpty());
}

/// A standby that lags behind is promoted in a hole, and its timeline has the front of it.
TEST(Import, MendsTheFrontOfAHoleInWhichTheNewestTimelineBegins) {
  auto one = the_wal();
  const auto fork = one.fork_point(kSize.start(5) + 400'000);
  auto two = verify::promote(one, fork, 2, 9);
  two.grow_to(kSize.start(7));
  ArchiveBuilder archive;
  archive.segments(one, 1, 4).segments(one, 8, 9).history(2, verify::history_line(1, fork));
  archive.partial(two, kSize.start(5) + 900'000);
  record_loss(*archive.disk.open(), hole(4, 8));
  ArchiveBuilder other;
  other.segments(one, 4, 5);
  std::shared_ptr<io::Directory> source = other.disk.open();
  const auto directory = archive.disk.open();
  const auto result = import_wal(*directory, {{source}}, {});
  EXPECT_THAT(names_of(result), ElementsAre(name(4))) << told(result);
}

TEST(Import, NamesTheTimelineOfWhatNobodyVouchesFor) {
  // Timeline 2 begins in segment 9, behind the hole.
  auto one = the_wal();
  const auto at = one.fork_point(kSize.start(9) + 400'000);
  auto two = verify::promote(one, at, 2, 9);
  two.grow_to(kSize.start(11));
  for (const std::uint64_t first : {4, 6}) {
    SCOPED_TRACE(first);
    Example example;
    for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
    example.archive.segments(one, 1, 4).segments(one, 8, 9).segments(two, 9, 11);
    example.archive.history(2, verify::history_line(1, at));
    example.offer(first, first + 2);
    const auto result = example.run();
    ASSERT_THAT(result.unvouched, SizeIs(1)) << told(result);
    EXPECT_EQ(result.unvouched[0].timeline, 1u);
    example.offer(4, 8);
    EXPECT_THAT(example.run().unvouched, IsEmpty());
  }
}

/// XLOG_PARAMETER_CHANGE.
WalBuilder::Record set_level(WalBuilder& wal, unsigned char level) {
  std::vector<std::byte> body = {std::byte{255}, std::byte{26}};
  body.resize(28);
  body[22] = std::byte{level};
  return wal.append(0, 0x60, body);
}

/// WAL of segments 1 to 12, with wal_level lowered and raised in it.
struct Leveled {
  Leveled(std::uint64_t lowered_in, std::uint64_t raised_in)
      : wal({.switch_every = 0, .abort_every = 0}) {
    wal.grow_to(kSize.start(lowered_in) + 300'000);
    lowered = set_level(wal, 0);
    wal.grow_to(kSize.start(raised_in) + 600'000);
    raised = set_level(wal, 1);
    wal.grow_to(kSize.start(13));
  }
  WalBuilder wal;
  WalBuilder::Record lowered;
  WalBuilder::Record raised;
};

/// The hole is 4 to 7.
struct Minimal : Example {
  explicit Minimal(Leveled& made) {
    for (const auto& each : archive.disk.names()) archive.disk.erase(each);
    archive.segments(made.wal, 1, 4).segments(made.wal, 8, 11);
  }
  std::vector<Loss> recorded() {
    auto losses = holes();
    std::erase_if(losses, [](const auto& loss) { return loss.kind != Loss::Kind::minimal_wal; });
    return losses;
  }
};

TEST(Import, RecordsWalOfWalLevelMinimalAsAReceiverDoes) {
  for (const std::uint64_t raised_in : {6, 9}) {
    SCOPED_TRACE(raised_in);
    Leveled made(5, raised_in);
    Minimal example(made);
    example.other.segments(made.wal, 4, 8);
    const auto result = example.run();
    EXPECT_THAT(result.came, SizeIs(4)) << told(result);
    ASSERT_THAT(result.minimal_wal, SizeIs(1));
    EXPECT_EQ(example.recorded(), result.minimal_wal);
    EXPECT_EQ(result.minimal_wal[0].begin, made.lowered.start);
    EXPECT_EQ(result.minimal_wal[0].end, made.raised.end) << "the archive may have its end";
    EXPECT_FALSE(result.minimal_wal[0].goes_on);
    EXPECT_THAT(example.run().minimal_wal, IsEmpty());
  }
}

TEST(Import, ContinuesATimeOfWalLevelMinimalThatEndedAtTheHole) {
  Leveled made(2, 6);
  Minimal example(made);
  const auto directory = example.archive.disk.open();
  Loss loss;
  loss.kind = Loss::Kind::minimal_wal;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = loss.counted_to = made.lowered.start;
  loss.end = kSize.start(4);
  loss.segment_size = kSize;
  record_loss(*directory, loss);
  // Its end is still missing: it lies in what remains of the hole.
  example.other.segments(made.wal, 4, 6);
  auto result = example.run();
  ASSERT_THAT(example.recorded(), SizeIs(1));
  EXPECT_EQ(example.recorded(), result.minimal_wal);
  EXPECT_EQ(example.recorded()[0].end, kSize.start(6));
  EXPECT_FALSE(example.recorded()[0].goes_on);
  example.other.segments(made.wal, 6, 8);
  result = example.run();
  EXPECT_EQ(example.recorded(), result.minimal_wal);
  EXPECT_EQ(example.recorded()[0].begin, made.lowered.start);
  EXPECT_EQ(example.recorded()[0].end, made.raised.end);
}

TEST(Import, HasRecordedMinimalWalBeforeItIsThereWheneverThePowerFails) {
  std::mt19937_64 random(test::seed_or(41));
  Leveled made(5, 6);
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Minimal example(made);
    example.other.segments(made.wal, 4, 8);
    auto& disk = example.archive.disk;
    disk.reset_calls();
    disk.lose_power_at(call);
    bool through = false;
    try {
      through = example.run().came.size() == 4;
    } catch (const sim::MachineDown&) {
    }
    disk.set_hook({});
    disk.crash(random);
    if (disk.exists(name(5))) {
      ASSERT_THAT(example.recorded(), SizeIs(1));
      EXPECT_EQ(example.recorded()[0].end, made.raised.end);
    }
    if (through || ::testing::Test::HasFailure()) break;
  }
}

TEST(Import, DoesNotCompareWhatMeansNothing) {
  // Behind an xlog switch anything may stand: page headers of a walsender, zeros of a server.
  WalBuilder::Options options;
  options.switch_every = 0;
  WalBuilder wal(options);
  wal.grow_to(kSize.start(2) + 100'000);
  while (!wal.append_switch()) wal.append_random(100);
  wal.grow_to(kSize.start(4));
  Example example;
  for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
  example.archive.segments(wal, 1, 4);
  example.other.segments(wal, 2, 3);
  example.other.flip(name(2), 900'000, 3);
  const auto result = example.run();
  EXPECT_EQ(result.present, 1u) << told(result);
  EXPECT_EQ(result.reason(), Reason::not_asked_for);
  // Before it everything counts.
  example.other.segments(wal, 2, 3).flip(name(2), 50'000, 3);
  EXPECT_NE(example.run().reason(), Reason::not_asked_for);
}

TEST(Import, NeverComesWhereAReceiverIsWriting) {
  Example example;
  record_loss(*example.archive.disk.open(), hole(4, 8));
  // Nothing is finished behind the hole: a receiver streams there.
  for (const auto segno : {8, 9, 10}) example.archive.disk.erase(name(segno));
  example.archive.disk.erase(name(11, ".partial"));
  example.archive.partial(example.wal, kSize.start(8) + 300'000);
  example.offer(4, 13);
  Options options;
  options.receiver = true;
  options.durable_end = [] { return archive::DurableEnd{1, kSize.start(8) + 200'000}; };
  const auto result = example.run(options);
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(5), name(6), name(7))) << told(result);
  EXPECT_EQ(result.reason(), Reason::not_asked_for);
  EXPECT_THAT(result.closed, ElementsAre("hole-1-0-400000"));
  EXPECT_THAT(example.holes(), IsEmpty());
  example.expect_whole(8);

  // One that does not say where it is may be anywhere there.
  Example other;
  record_loss(*other.archive.disk.open(), hole(4, 8));
  for (const auto segno : {8, 9, 10}) other.archive.disk.erase(name(segno));
  other.offer(4, 8);
  options.durable_end = [] { return std::nullopt; };
  EXPECT_THAT(other.run(options).came, IsEmpty());
}

TEST(Import, ComparesWhatWasAcknowledgedOfAnUnfinishedSegment) {
  for (const bool equal : {true, false}) {
    Example example;
    auto ours =
        equal ? example.wal
              : example.wal.other_branch(example.wal.fork_point(kSize.start(4) + 5000), 3, true);
    example.archive.partial(ours, kSize.start(4) + 300'000);
    example.offer(4, 8);
    const auto result = example.run();
    EXPECT_THAT(result.came, SizeIs(equal ? 4 : 0)) << told(result);
    EXPECT_EQ(result.reason(), equal ? Reason::not_asked_for : Reason::conflict);
  }
}

TEST(Import, ReplacesWhatIsDamagedOnlyIfAskedTo) {
  Example example;
  example.offer(4, 8);
  static_cast<void>(example.run());
  const auto sound = example.archive.disk.content(name(9));
  example.archive.flip(name(9), 500'000, 2);
  const auto damaged = example.archive.disk.content(name(9));
  example.offer(9, 10, Method::zstd);
  const auto refused = example.run();
  EXPECT_EQ(refused.reason(), Reason::conflict) << told(refused);
  EXPECT_EQ(example.archive.disk.content(name(9)), damaged);
  const auto result = example.run({.replace_damaged = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(9))) << told(result);
  EXPECT_EQ(result.reason(), Reason::not_asked_for);
  EXPECT_EQ(example.archive.disk.content(name(9)), sound);
  EXPECT_EQ(example.archive.disk.content(".pgweir-damaged-" + name(9)), damaged);
  example.expect_whole(11);
}

/// As the pg_wal of a server has it: the last segment is unfinished.
test::Bytes begun(WalBuilder& wal, std::uint64_t segno) {
  const auto front = wal.bytes(kSize.start(segno), kSize.start(segno) + 5'000);
  test::Bytes bytes(front.begin(), front.end());
  bytes.resize(kSize.bytes());
  return bytes;
}

TEST(Import, ExtendsUpToWhatIsUnfinishedOrDamaged) {
  for (const bool unfinished : {true, false}) {
    Example example(1, 4, 7);
    example.archive.disk.open()->remove(name(7, ".partial"));
    example.offer(7, 10);
    if (unfinished)
      example.other.disk.put(name(10), begun(example.wal, 10));
    else
      example.offer(10, 12).flip(name(10), 5'000, 2);
    const auto result = example.run({.extend = true});
    EXPECT_THAT(names_of(result), ElementsAre(name(7), name(8), name(9))) << told(result);
    EXPECT_EQ(result.reason(), unfinished ? Reason::not_asked_for : Reason::not_sound);
    EXPECT_THAT(result.unvouched, IsEmpty());
    example.expect_whole(10);
  }
}

TEST(Import, ExtendsTheFrontDownToWhatIsDamaged) {
  Example example(5, 5, 11);
  example.offer(1, 5).flip(name(2), 5'000, 2);
  const auto result = example.run({.extend = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(3))) << told(result);
  EXPECT_EQ(result.reason(), Reason::not_sound);
  EXPECT_THAT(result.unvouched, IsEmpty());
}

TEST(Import, ReplacesTheNewestBeforeAnUnfinishedOne) {
  Example example(1, 4, 7);
  example.archive.disk.open()->remove(name(7, ".partial"));
  const auto sound = example.archive.disk.content(name(6));
  example.archive.flip(name(6), 5'000, 2);
  example.offer(6, 7).disk.put(name(7), begun(example.wal, 7));
  const auto result = example.run({.extend = true, .replace_damaged = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(6))) << told(result);
  EXPECT_EQ(result.reason(), Reason::not_asked_for) << told(result);
  EXPECT_EQ(example.archive.disk.content(name(6)), sound);
}

/// The filler before it must not be taken for its own.
TEST(Import, SeesDamageInTheFirstRecordBehindAnXlogSwitch) {
  WalBuilder wal(WalBuilder::Options{.switch_every = 0, .abort_every = 0, .large_every = 0});
  wal.grow_to(kSize.start(2) + 100'000);
  wal.append_switch();
  wal.grow_to(kSize.start(5));
  Example example(1, 1, 1);
  example.archive.disk.open()->remove(name(1, ".partial"));
  example.archive.segments(wal, 1, 5);
  const auto sound = example.archive.disk.content(name(3));
  example.archive.flip(name(3), 60, 2);
  example.other.segments(wal, 3, 4);
  const auto refused = example.run();
  EXPECT_EQ(refused.present, 0u);
  EXPECT_EQ(refused.reason(), Reason::conflict) << told(refused);
  const auto result = example.run({.replace_damaged = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(3))) << told(result);
  EXPECT_EQ(example.archive.disk.content(name(3)), sound);
}

/// What lies beside it in the source differs from ours, but that is because ours is damaged.
TEST(Import, FillsAHoleBesideADamagedSegment) {
  Example example;
  example.archive.flip(name(3), 5'000, 2);
  example.offer(3, 8);
  const auto result = example.run();
  EXPECT_THAT(result.came, SizeIs(4)) << told(result);
  EXPECT_EQ(result.reason(), Reason::conflict);  // the damaged one is named
  const auto mended = example.run({.replace_damaged = true});
  EXPECT_THAT(names_of(mended), ElementsAre(name(3))) << told(mended);
  EXPECT_THAT(mended.unvouched, IsEmpty());
  example.expect_whole(11);
}

/// A disk with bad sectors, or a file of another user.
TEST(Import, PassesOverAFileThatCannotBeRead) {
  for (const bool at_all : {true, false}) {
    for (const std::uint64_t unreadable : {3, 6}) {  // one that the archive has, and one that not
      Example example;
      example.offer(3, 8);
      example.other.disk.set_hook([&](const sim::SimDisk::Call& call) {
        using Effect = sim::SimDisk::Effect;
        const bool fails = call.name == name(unreadable) &&
                           call.operation == sim::SimDisk::Operation::read &&
                           (at_all || call.offset > 100'000);
        return fails ? Effect::fail(EIO) : Effect::proceed();
      });
      const auto result = example.run();
      EXPECT_THAT(result.came, SizeIs(unreadable == 3 ? 4 : 3)) << told(result);
      EXPECT_EQ(result.reason(), Reason::not_sound);
      EXPECT_THAT(told(result), HasSubstr(name(unreadable)));
      example.other.disk.set_hook({});
      static_cast<void>(example.run());
      example.expect_whole(11);
    }
  }
}

TEST(Import, ADryRunTellsWhatWouldRemain) {
  Example example;
  record_loss(*example.archive.disk.open(), hole(4, 8));
  example.offer(4, 6);
  const auto part = example.run({.dry_run = true});
  EXPECT_THAT(part.holes, ElementsAre(HasSubstr("0/600000 to 0/800000")));
  EXPECT_THAT(part.unvouched, SizeIs(1));
  EXPECT_THAT(part.closed, IsEmpty());
  example.offer(6, 8);
  const auto all = example.run({.dry_run = true});
  EXPECT_THAT(all.holes, IsEmpty());
  EXPECT_THAT(all.unvouched, IsEmpty());
  EXPECT_THAT(all.closed, ElementsAre("hole-1-0-400000"));
  EXPECT_THAT(example.holes(), SizeIs(1));
}

TEST(Import, ReplacesNothingByWhatDoesNotFit) {
  Example example;
  example.archive.flip(name(9), 500'000, 2);
  auto branch = example.wal.other_branch(example.wal.fork_point(kSize.start(9) + 5000), 79, false);
  branch.grow_to(kSize.start(10));
  example.other.disk.put(name(9), ArchiveBuilder::content(branch, 9));
  const auto before = example.archive.disk.content(name(9));
  const auto result = example.run({.replace_damaged = true});
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_EQ(result.reason(), Reason::not_sound) << told(result);
  EXPECT_EQ(example.archive.disk.content(name(9)), before);
}

TEST(Import, OnlySaysWhatWouldHappen) {
  Example example;
  example.offer(4, 6);
  example.other.history(2, verify::history_line(1, kSize.start(12)));
  const auto before = example.archive.disk.names();
  const auto result = example.run({.dry_run = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(5)));
  EXPECT_EQ(example.archive.disk.names(), before);
}

TEST(Import, NeverLetsAnythingWrongInWhateverIsDamaged) {
  const auto seed = test::seed_or(17);
  std::mt19937_64 random(seed);
  int came = 0, left_out = 0;
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    Example example(3, 8, 9);
    const Method methods[] = {Method::none, Method::zstd, Method::gzip, Method::lz4};
    example.offer(4, 8, methods[round % 4]);
    const auto files = example.other.disk.names();
    for (auto times = 1 + random() % 2; times > 0; --times) {
      const auto& file = files[random() % files.size()];
      auto bytes = example.other.disk.content(file);
      switch (random() % 3) {
        case 0:
          bytes[random() % bytes.size()] ^= static_cast<std::byte>(1u << (random() % 8));
          break;
        case 1:
          bytes.resize(random() % bytes.size());
          break;
        default: {
          const auto at = random() % bytes.size();
          std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                      std::min<std::size_t>(8192, bytes.size() - at), std::byte{0});
        }
      }
      example.other.disk.put(file, bytes);
    }
    const auto result = example.run();
    came += static_cast<int>(result.came.size());
    left_out += static_cast<int>(result.left_out.size());
    const auto report = example.verify();
    for (const auto& finding : report.findings)
      EXPECT_EQ(finding.kind, verify::FindingKind::gap) << finding.what << " " << finding.file;
    if (HasFailure()) break;
  }
  EXPECT_GT(came, 15);
  EXPECT_GT(left_out, 40);
}

/// What has to hold at every moment: what is there is right, and what is missing is told, whether
/// anything is finished behind it or not; a receiver that starts goes on behind it.
void expect_told(Example& example, const std::vector<std::string>& before) {
  for (const auto& each : before) EXPECT_TRUE(example.archive.disk.exists(each)) << each;
  const auto report = example.verify();
  bool told = false;
  for (const auto& finding : report.findings) {
    EXPECT_EQ(finding.kind, verify::FindingKind::gap) << finding.what << " " << finding.file;
    told = true;
  }
  bool missing = false;
  for (const auto segno : {4u, 5u})
    missing = missing || (!example.archive.disk.exists(name(segno)) &&
                          !example.archive.disk.exists(name(segno, ".zst")));
  EXPECT_EQ(told, missing);
  const auto directory = example.archive.disk.open();
  const auto resume =
      archive::find_resume_point(*directory, archive::list_archive(*directory), kSize);
  ASSERT_TRUE(resume);
  EXPECT_EQ(resume->start, kSize.start(example.archive.disk.exists(name(6)) ? 7 : 6));
  EXPECT_EQ(resume->holes.empty(), !missing);
}

/// The hole is 4 and 5. Behind it 6 is finished, or only begun.
void try_each_call(bool with_finished_behind, Method method, bool kill) {
  std::mt19937_64 random(test::seed_or(23));
  std::uint64_t calls = 0;
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example(3, 6, with_finished_behind ? 7 : 6);
    auto& disk = example.archive.disk;
    record_loss(*disk.open(), hole(4, 6));
    example.offer(4, 6, method);
    auto before = disk.names();
    std::erase_if(before, [](const auto& each) { return each.starts_with('.'); });
    disk.reset_calls();
    disk.lose_power_at(call);
    bool through = false;
    try {
      EXPECT_EQ(example.run().came.size(), 2u);
      through = true;
    } catch (const sim::MachineDown&) {
    }
    disk.set_hook({});
    if (kill)
      disk.kill();
    else if (call % 2 == 0)
      disk.crash_losing_everything();
    else
      disk.crash(random);
    expect_told(example, before);
    // A receiver that starts cleans up.
    {
      const auto directory = disk.open();
      archive::clean_up(*directory, archive::list_archive(*directory));
    }
    const auto again = example.run();
    EXPECT_EQ(again.reason(), Reason::not_asked_for) << told(again);
    EXPECT_THAT(again.holes, IsEmpty());
    EXPECT_THAT(example.holes(), IsEmpty());
    example.expect_whole(6);
    calls = call;
    if (through || ::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(calls, 50u);
}

TEST(Import, LosesNothingWheneverThePowerFails) { try_each_call(true, Method::none, false); }
TEST(Import, LosesNothingWheneverItIsKilled) { try_each_call(true, Method::zstd, true); }
TEST(Import, TellsAHoleWithNothingFinishedBehindWheneverThePowerFails) {
  try_each_call(false, Method::none, false);
}

TEST(Import, HasRecordedWhatNobodyVouchesForBeforeItIsThere) {
  std::mt19937_64 random(test::seed_or(37));
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example(3, 8, 9);
    example.offer(4, 6);
    auto& disk = example.archive.disk;
    disk.reset_calls();
    disk.lose_power_at(call);
    bool through = false;
    try {
      through = example.run().came.size() == 2;
    } catch (const sim::MachineDown&) {
    }
    disk.set_hook({});
    if (call % 2 == 0)
      disk.crash_losing_everything();
    else
      disk.crash(random);
    const auto directory = disk.open();
    const auto records = read_unvouched(*directory, archive::list_archive(*directory));
    if (disk.exists(name(4))) {
      ASSERT_THAT(records, SizeIs(1));
      EXPECT_FALSE(records[0].complaint) << *records[0].complaint;
      EXPECT_TRUE(records[0].right);
      EXPECT_EQ(records[0].begin, kSize.start(4));
    }
    if (through || ::testing::Test::HasFailure()) break;
  }
}

TEST(Import, NeverLeavesASecondHoleWheneverThePowerFails) {
  // Only 8 vouches for 5 to 7: they come in from there.
  std::mt19937_64 random(test::seed_or(43));
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example;
    example.offer(5, 8);
    auto& disk = example.archive.disk;
    disk.reset_calls();
    disk.lose_power_at(call);
    bool through = false;
    try {
      through = example.run().came.size() == 3;
    } catch (const sim::MachineDown&) {
    }
    disk.set_hook({});
    disk.crash(random);
    for (const std::uint64_t segno : {5, 6})
      if (disk.exists(name(segno))) {
        EXPECT_TRUE(disk.exists(name(segno + 1))) << segno;
      }
    example.offer(4, 5);
    const auto again = example.run();
    EXPECT_THAT(again.holes, IsEmpty());
    EXPECT_THAT(again.unvouched, IsEmpty()) << told(again);
    example.expect_whole(11);
    if (through || ::testing::Test::HasFailure()) break;
  }
}

TEST(Import, NeverLeavesAHoleInFrontWheneverThePowerFails) {
  std::mt19937_64 random(test::seed_or(29));
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example;
    example.archive.segments(example.wal, 4, 8);
    for (const auto segno : {1, 2, 3}) example.archive.disk.erase(name(segno));
    example.offer(1, 4);
    example.archive.disk.reset_calls();
    example.archive.disk.lose_power_at(call);
    bool through = false;
    try {
      through = example.run({.extend = true}).came.size() == 3;
    } catch (const sim::MachineDown&) {
    }
    example.archive.disk.set_hook({});
    example.archive.disk.crash(random);
    const auto report = example.verify();
    EXPECT_TRUE(report.sound()) << to_text(report);
    if (through || ::testing::Test::HasFailure()) break;
  }
}

TEST(Import, HasTheDamagedFileOrTheSoundOneWheneverThePowerFails) {
  std::mt19937_64 random(test::seed_or(31));
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example;
    example.archive.segments(example.wal, 4, 8);
    example.archive.flip(name(9), 500'000, 2);
    const auto damaged = example.archive.disk.content(name(9));
    example.offer(9, 10);
    example.archive.disk.reset_calls();
    example.archive.disk.lose_power_at(call);
    bool through = false;
    try {
      through = example.run({.replace_damaged = true}).came.size() == 1;
    } catch (const sim::MachineDown&) {
    }
    example.archive.disk.set_hook({});
    if (call % 3 == 0)
      example.archive.disk.kill();
    else
      example.archive.disk.crash(random);
    ASSERT_TRUE(example.archive.disk.exists(name(9)));
    const bool replaced = example.archive.disk.content(name(9)) != damaged;
    if (replaced) {
      EXPECT_TRUE(example.archive.disk.holds(name(9), 0, ArchiveBuilder::content(example.wal, 9)));
      EXPECT_EQ(example.archive.disk.content(".pgweir-damaged-" + name(9)), damaged);
    }
    EXPECT_TRUE(!through || replaced);
    if (through || ::testing::Test::HasFailure()) break;
  }
}

TEST(Import, PublishesNothingShortIfTheDiskIsFull) {
  Example example;
  example.offer(4, 8);
  example.archive.disk.set_capacity(example.archive.disk.used_bytes() + kSize.bytes() * 2 +
                                    100'000);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(example.run()); }).kind(), ErrorKind::disk_full);
  EXPECT_TRUE(example.archive.disk.exists(name(5)));
  EXPECT_FALSE(example.archive.disk.exists(name(6)));
  for (const auto& left : example.archive.disk.names())
    EXPECT_FALSE(left.ends_with(".tmp")) << left;
  example.archive.disk.set_capacity(std::nullopt);
  EXPECT_THAT(example.run().came, SizeIs(2));
  example.expect_whole(11);
}

TEST(Import, PublishesNothingThatChangedSinceItWasChecked) {
  // A server recycles a file between the check and the copy.
  Example example;
  example.offer(4, 8);
  bool changed = false;
  example.archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    const bool segment = call.name.find(name(4)) != std::string::npos;
    if (call.operation == sim::SimDisk::Operation::create && segment && !changed) {
      changed = true;
      example.other.flip(name(4), 300'000, 1);
    }
    return sim::SimDisk::Effect::proceed();
  });
  const auto result = example.run();
  EXPECT_TRUE(changed);
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_EQ(result.reason(), Reason::not_sound);
  EXPECT_THAT(told(result), HasSubstr("after it was checked"));
}

TEST(Import, StopsBehindAPruneThatPasses) {
  Example example;
  example.offer(4, 8);
  bool pruned = false;
  example.archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::create && !pruned) {
      pruned = true;
      for (const auto segno : {1, 2, 3}) example.archive.disk.erase(name(segno));
    }
    return sim::SimDisk::Effect::proceed();
  });
  const auto result = example.run();
  EXPECT_THAT(result.came, IsEmpty()) << told(result);
  EXPECT_FALSE(example.archive.disk.exists(name(4)));
}

TEST(Import, StopsWhenAskedTo) {
  Example example;
  example.offer(4, 8);
  Options options;
  int published = 0;
  options.came_in = [&](const std::string&, const std::string&) { ++published; };
  options.stop = [&](std::uint64_t) { return published == 2; };
  EXPECT_EQ(test::error_of([&] { static_cast<void>(example.run(options)); }).kind(),
            ErrorKind::retry);
  EXPECT_TRUE(example.archive.disk.exists(name(5)));
  EXPECT_FALSE(example.archive.disk.exists(name(6)));
}

// ---- what is offered

/// What is said of that file; "" if nothing is.
std::string said_of(const Result& result, const std::string& file) {
  for (const auto& each : result.left_out)
    if (each.path.ends_with("/" + file) || each.path == file) return each.what;
  return {};
}

TEST(Import, RefusesAFileThatIsNeitherSegmentNorHistory) {
  Example example;
  example.other.disk.put("README", test::as_bytes("x"));
  std::shared_ptr<io::Directory> source = example.other.disk.open();
  const auto directory = example.archive.disk.open();
  const auto result = import_wal(*directory, {{source, "README"}}, Options{});
  EXPECT_FALSE(result.done());
  ASSERT_THAT(result.left_out, SizeIs(1));
  EXPECT_THAT(result.left_out[0].what, HasSubstr("neither a WAL segment nor a timeline history"));
  EXPECT_THAT(result.left_out[0].hint, HasSubstr("24 hexadecimal digits"));
}

TEST(Import, SaysOfEachFileWhyItIsNoneOfTheArchives) {
  Example example;
  WalBuilder::Options larger;
  larger.segment_size = *wal::SegmentSize::of(2 << 20);
  larger.start = larger.segment_size.start(1);
  WalBuilder of_two(larger);
  of_two.grow_to(larger.segment_size.start(3));
  const SegmentName two(1, 2, larger.segment_size);
  const auto start = larger.segment_size.start(2);
  example.other.disk.put(two.to_string(), of_two.bytes(start, start + larger.segment_size.bytes()));
  example.other.disk.put("0000000100000000FFFFFFFF", ArchiveBuilder::content(example.wal, 4));
  example.other.disk.put(name(5), ArchiveBuilder::content(example.wal, 4));
  example.other.disk.put(name(6), test::Bytes(kSize.bytes()));
  example.other.disk.put(name(7, ".partial"), test::Bytes(kSize.bytes()));
  auto result = example.run();
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_EQ(said_of(result, two.to_string()),
            "it is of another segment or page size: 2097152 and 8192 bytes");
  EXPECT_EQ(said_of(result, "0000000100000000FFFFFFFF"),
            "the file name does not match the segment size");
  EXPECT_EQ(said_of(result, name(5)),
            "it contains the WAL of 0/400000, which does not match its name");
  EXPECT_EQ(said_of(result, name(6)), "it does not begin with WAL");
  EXPECT_EQ(said_of(result, name(7, ".partial")), "it is incomplete and empty");
  EXPECT_EQ(result.reason(), Reason::conflict);

  example.other.disk.put("archive_status", {});  // a pg_wal: old files wait there for their turn
  result = example.run();
  EXPECT_EQ(said_of(result, name(5)),
            "it contains the WAL of 0/400000: an old file that the server has recycled for a "
            "future segment");
}

TEST(Import, TellsNothingOfAnUnreadableFileToAnEmptyArchive) {
  Example example;
  for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
  example.offer(4, 8);
  example.other.disk.set_hook([&](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::read && call.name == name(7)
               ? sim::SimDisk::Effect::fail(EIO)
               : sim::SimDisk::Effect::proceed();
  });
  const auto result = example.run({.extend = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(4), name(5), name(6))) << told(result);
  EXPECT_THAT(said_of(result, name(7)), Not(IsEmpty()));
  EXPECT_EQ(result.reason(), Reason::not_sound);
}

TEST(Import, TakesNeitherOfTwoSoundFilesThatDiffer) {
  Example example;
  example.offer(4, 8);
  auto branch = example.wal.other_branch(example.wal.fork_point(kSize.start(5) + 5000), 79, false);
  branch.grow_to(kSize.start(8));
  ArchiveBuilder third;
  third.segments(branch, 5, 6, Method::zstd);
  std::shared_ptr<io::Directory> one = example.other.disk.open();
  std::shared_ptr<io::Directory> two = third.disk.open();
  const auto directory = example.archive.disk.open();
  const auto result = import_wal(*directory, {{one}, {two}}, Options{});
  EXPECT_THAT(names_of(result), Not(Contains(name(5))));
  EXPECT_THAT(names_of(result), Not(Contains(name(5, ".zst"))));
  EXPECT_THAT(said_of(result, name(5)),
              AllOf(HasSubstr("its WAL differs from that of "), HasSubstr(name(5, ".zst")),
                    HasSubstr("and both are valid")));
  EXPECT_THAT(said_of(result, name(5, ".zst")), HasSubstr("and both are valid"));
  EXPECT_EQ(result.reason(), Reason::conflict);
}

TEST(Import, SaysThatAFileHasGoneSinceItWasListed) {
  Example example;
  example.offer(4, 8);
  int opened = 0;
  example.other.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::open && call.name == name(6) && ++opened == 2)
      example.other.disk.erase(name(6));
    return sim::SimDisk::Effect::proceed();
  });
  const auto result = example.run();
  EXPECT_EQ(said_of(result, name(6)), "it was removed after it was listed") << told(result);
  EXPECT_EQ(result.reason(), Reason::not_sound);
}

TEST(Import, StopsWhileItReads) {
  Example example;
  example.offer(4, 8);
  Options options;
  options.stop = [](std::uint64_t moved) { return moved > 0; };
  const auto error = test::error_of([&] { static_cast<void>(example.run(options)); });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
  EXPECT_THAT(error.what(), HasSubstr("before everything was checked"));
  EXPECT_FALSE(example.archive.disk.exists(name(4)));
}

// ---- histories

/// Timeline 1 up to within segment 5, then 2.
struct Switched {
  Switched() {
    for (const auto& each : example.archive.disk.names()) example.archive.disk.erase(each);
    two.grow_to(kSize.start(8));
    example.archive.segments(one, 1, 5).segments(two, 5, 7);
    example.archive.history(2, verify::history_line(1, at));
  }
  Example example;
  WalBuilder one = the_wal();
  Lsn at = one.fork_point(kSize.start(5) + 400'000);
  WalBuilder two = verify::promote(one, at, 2, 9);
};

TEST(Import, ComparesHistoriesWithTheArchives) {
  Switched world;
  auto& other = world.example.other;
  other.history(2, verify::history_line(1, world.at));
  auto result = world.example.run();
  EXPECT_EQ(result.present, 1u) << told(result);
  EXPECT_EQ(result.reason(), Reason::not_asked_for);

  other.history(2, verify::history_line(1, world.at + 8));
  result = world.example.run();
  EXPECT_EQ(said_of(result, "00000002.history"), "it contradicts the archive's 00000002.history");
  EXPECT_EQ(result.reason(), Reason::conflict);

  world.example.archive.history(2, "rubbish\n");
  result = world.example.run();
  EXPECT_EQ(said_of(result, "00000002.history"), "the archive's 00000002.history cannot be read");
  EXPECT_EQ(world.example.archive.disk.content("00000002.history"),
            test::Bytes(test::as_bytes("rubbish\n").begin(), test::as_bytes("rubbish\n").end()));
}

TEST(Import, TakesNoHistoryThatIsNotTheArchives) {
  Switched world;
  auto& other = world.example.other;
  const auto of_two = verify::history_line(1, world.at);
  other.history(3, verify::history_line(1, world.at + 8) + verify::history_line(2, kSize.start(7)));
  other.history(4, verify::history_line(1, kSize.start(3)));
  other.history(5, of_two + verify::history_line(2, kSize.start(7)));
  other.disk.put("00000006.history", test::as_bytes("rubbish\n"));
  other.disk.put("00000007.history.gz", test::as_bytes("rubbish\n"));
  const auto before = world.example.archive.disk.names();
  auto result = world.example.run();
  EXPECT_THAT(result.came, IsEmpty()) << told(result);
  EXPECT_EQ(said_of(result, "00000003.history"),
            "it contradicts 00000002.history about the timelines before them");
  EXPECT_EQ(said_of(result, "00000004.history"),
            "its timeline does not belong to the archive's history");
  EXPECT_EQ(said_of(result, "00000005.history"),
            "its timeline is newer than what the archive holds");
  EXPECT_EQ(said_of(result, "00000006.history"), "it is not a valid timeline history");
  EXPECT_THAT(said_of(result, "00000007.history.gz"), Not(IsEmpty()));
  EXPECT_EQ(world.example.archive.disk.names(), before);
  result = world.example.run({.extend = true});
  EXPECT_THAT(result.came, IsEmpty());
  EXPECT_EQ(said_of(result, "00000005.history"), "no segment of its timeline is imported");
}

/// Two promotions within a segment: timeline 2 has none of its own.
TEST(Import, TakesTheHistoriesOfAncestorsWithoutSegments) {
  auto one = the_wal();
  const auto first = one.fork_point(kSize.start(4) + 300'000);
  auto two = verify::promote(one, first, 2, 9);
  two.grow_to(kSize.start(6));
  const auto second = two.fork_point(kSize.start(4) + 700'000);
  auto three = verify::promote(two, second, 3, 11);
  three.grow_to(kSize.start(7));
  for (const bool offered : {true, false}) {
    SCOPED_TRACE(offered);
    ArchiveBuilder archive;
    archive.segments(one, 1, 4);
    ArchiveBuilder other;
    other.segments(three, 4, 6);
    other.history(3, verify::history_line(1, first) + verify::history_line(2, second));
    if (offered) other.history(2, verify::history_line(1, first));
    std::shared_ptr<io::Directory> source = other.disk.open();
    const auto directory = archive.disk.open();
    const auto result = import_wal(*directory, {{source}}, {.extend = true});
    EXPECT_THAT(names_of(result),
                ElementsAre("00000002.history", "00000003.history", name(4, "", 3), name(5, "", 3)))
        << told(result);
  }
}

/// A recovery to the newest timeline ends its search before the first number without a file.
TEST(Import, TakesTheHistoriesOfSkippedTimelines) {
  auto one = the_wal();
  const auto fork = one.fork_point(kSize.start(4) + 400'000);
  auto three = verify::promote(one, fork, 3, 11);
  three.grow_to(kSize.start(7));
  ArchiveBuilder archive;
  archive.segments(one, 1, 4);
  ArchiveBuilder other;
  other.history(2, verify::history_line(1, kSize.start(3)));
  std::shared_ptr<io::Directory> source = other.disk.open();
  const auto directory = archive.disk.open();
  auto result = import_wal(*directory, {{source}}, {.extend = true});
  EXPECT_THAT(result.came, IsEmpty()) << "a recovery would follow timeline 2";
  archive.segments(three, 4, 5);
  result = import_wal(*directory, {{source}}, {});
  EXPECT_THAT(result.came, IsEmpty()) << "the file of timeline 3 is missing, too";
  EXPECT_EQ(said_of(result, "00000002.history"),
            "its timeline does not belong to the archive's history");
  archive.history(3, verify::history_line(1, fork));
  result = import_wal(*directory, {{source}}, {});
  EXPECT_THAT(names_of(result), ElementsAre("00000002.history")) << told(result);

  for (const auto& each : archive.disk.names()) archive.disk.erase(each);
  archive.segments(one, 1, 4);
  other.segments(three, 4, 6).history(3, verify::history_line(1, fork));
  result = import_wal(*directory, {{source}}, {.extend = true});
  EXPECT_THAT(names_of(result),
              ElementsAre("00000003.history", "00000002.history", name(4, "", 3), name(5, "", 3)))
      << told(result);
}

/// The archive began on timeline 2, without its history. The other cluster has a timeline 2, too.
TEST(Import, TakesNoHistoryFromADirectoryOfAnotherCluster) {
  auto two = verify::promote(the_wal(), the_wal().fork_point(kSize.start(5) + 400'000), 2, 9);
  two.grow_to(kSize.start(8));
  WalBuilder::Options options;
  options.system_identifier = 4711;
  options.timeline = 2;
  WalBuilder strange(options);
  strange.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(two, 6, 8);
  ArchiveBuilder other;
  other.segments(strange, 6, 9).history(2, verify::history_line(1, kSize.start(3)));
  std::shared_ptr<io::Directory> source = other.disk.open();
  const auto directory = archive.disk.open();
  const auto result = import_wal(*directory, {{source}}, {});
  EXPECT_THAT(result.came, IsEmpty()) << told(result);
  EXPECT_FALSE(archive.disk.exists("00000002.history"));
  EXPECT_EQ(said_of(result, "00000002.history"), "the WAL next to it is of another cluster");
  EXPECT_EQ(result.reason(), Reason::conflict);
}

TEST(Import, TakesNeitherSideOfTwoHistoriesOfOneTimeline) {
  Switched world;
  ArchiveBuilder third;
  world.example.other.history(2, verify::history_line(1, world.at));
  third.history(2, verify::history_line(1, world.at + 8));
  std::shared_ptr<io::Directory> one = world.example.other.disk.open();
  std::shared_ptr<io::Directory> two = third.disk.open();
  const auto directory = world.example.archive.disk.open();
  const auto result = import_wal(*directory, {{one}, {two}}, Options{});
  ASSERT_THAT(result.left_out, SizeIs(1));
  EXPECT_THAT(result.left_out[0].what, HasSubstr("it contradicts "));
  EXPECT_THAT(result.left_out[0].hint, HasSubstr("offer only its files"));
  EXPECT_EQ(result.reason(), Reason::conflict);
}

TEST(Import, DoesNotBeginWhereAHistoryOfTheArchiveCannotBeRead) {
  Switched world;
  world.example.archive.disk.set_hook([](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::read && call.name == "00000002.history"
               ? sim::SimDisk::Effect::fail(EIO)
               : sim::SimDisk::Effect::proceed();
  });
  const auto error = test::error_of([&] { static_cast<void>(world.example.run()); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_THAT(error.what(), HasSubstr("a timeline history of the archive could not be read"));
}

// ---- others at work

TEST(Import, LetsAnotherOneHaveTheName) {
  for (const bool same : {true, false}) {
    SCOPED_TRACE(same);
    Example example;
    example.offer(4, 8);
    auto branch =
        example.wal.other_branch(example.wal.fork_point(kSize.start(4) + 5000), 79, false);
    branch.grow_to(kSize.start(5));
    auto& theirs = same ? example.wal : branch;
    example.archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
      if (call.operation == sim::SimDisk::Operation::rename && call.to == name(4) &&
          !example.archive.disk.exists(name(4)))
        example.archive.segments(theirs, 4, 5);
      return sim::SimDisk::Effect::proceed();
    });
    const auto result = example.run();
    EXPECT_THAT(result.came, IsEmpty()) << told(result);
    EXPECT_TRUE(example.archive.disk.holds(name(4), 0, ArchiveBuilder::content(theirs, 4)));
    EXPECT_FALSE(example.archive.disk.exists(name(5)));
    EXPECT_EQ(result.present, same ? 1u : 0u);
    EXPECT_EQ(said_of(result, name(4)),
              same ? "" : "another process has created a different file of this name");
  }
}

TEST(Import, ReplacesEachFormByTheFormsOfTheArchive) {
  Example example;
  example.offer(4, 8);
  static_cast<void>(example.run());
  const auto content = ArchiveBuilder::content(example.wal, 9);
  test::Bytes bad(content.begin(), content.end());
  bad[500'000] ^= std::byte{4};
  example.archive.disk.put(name(9), bad);
  example.archive.disk.put(name(9, ".zst"), verify::packed(Method::zstd, bad));
  // A run that was interrupted has kept one already; another file has the first name of the other.
  example.archive.disk.put(archive::damaged_name(name(9), 1), bad);
  example.archive.disk.put(archive::damaged_name(name(9, ".zst"), 1), test::as_bytes("older"));
  example.offer(9, 10);
  const auto result = example.run({.replace_damaged = true});
  EXPECT_THAT(result.came, SizeIs(1)) << told(result);
  const auto forms = static_cast<int>(example.archive.disk.exists(name(9))) +
                     static_cast<int>(example.archive.disk.exists(name(9, ".zst")));
  EXPECT_EQ(forms, 1) << "the other damaged form is gone";
  EXPECT_FALSE(example.archive.disk.exists(archive::damaged_name(name(9), 2)));
  EXPECT_EQ(example.archive.disk.content(archive::damaged_name(name(9, ".zst"), 2)),
            verify::packed(Method::zstd, bad));
  example.expect_whole(11);
}

TEST(Import, ReplacesACompressedFileByACompressedOne) {
  Example example;
  example.offer(4, 8);
  static_cast<void>(example.run());
  const auto content = ArchiveBuilder::content(example.wal, 9);
  test::Bytes bad(content.begin(), content.end());
  bad[500'000] ^= std::byte{4};
  example.archive.disk.erase(name(9));
  example.archive.disk.put(name(9, ".zst"), verify::packed(Method::zstd, bad));
  example.offer(9, 10);
  const auto result = example.run({.replace_damaged = true});
  EXPECT_THAT(names_of(result), ElementsAre(name(9, ".zst"))) << told(result);
  EXPECT_FALSE(example.archive.disk.exists(name(9)));
  example.expect_whole(11);
}

}  // namespace
}  // namespace weir::importing::import_test
