#include "prune/archive_wal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "archive/home.h"
#include "archive/losses.h"
#include "archive/unvouched.h"
#include "support/archive_builder.h"
#include "support/error_of.h"

namespace weir::prune::archive_wal_test {
namespace {

using codec::Method;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;
using wal::PgTime;
using State = WalOfBackup::State;

PgTime second(std::int64_t count) { return {count * 1'000'000}; }

template <typename Value>
std::array<std::byte, 10> body_of(const Value& value) {
  static_assert(sizeof(value) == 8);
  std::array<std::byte, 10> body{std::byte{255}, std::byte{8}};
  std::memcpy(body.data() + 2, &value, sizeof(value));
  return body;
}

Lsn commit(WalBuilder& wal, std::int64_t seconds, bool aborted = false) {
  return wal.append(1, aborted ? 0x20 : 0x00, body_of(seconds * 1'000'000)).start;
}
Lsn end_backup(WalBuilder& wal, Lsn start) { return wal.append(0, 0x50, body_of(start)).end; }

FoundBackup backup(Lsn start, std::optional<Lsn> end = std::nullopt, wal::TimelineId timeline = 1) {
  FoundBackup found{.path = "/backup", .vouched = end.has_value()};
  found.point.emplace();
  found.point->timeline = timeline;
  found.point->start = start;
  found.point->end = end;
  found.point->end_timeline = end ? timeline : 0;
  return found;
}

/// Segments 1 to 8 of timeline 1; commits at seconds 10, 20 and so on, one in each segment, at
/// about its middle; a backup from segment 3 to segment 5; an abort right behind it.
struct Example {
  /// `back`: so many seconds the clock is behind from segment 5 on.
  explicit Example(std::int64_t back = 0) : wal(options()) {
    for (std::uint64_t segno = 1; segno < 9; ++segno) {
      if (segno == 3) {
        wal.grow_to(kSize.start(3) + 100'000);
        start = wal.end();
      }
      if (segno == 5) {
        wal.grow_to(kSize.start(5) + 100'000);
        end = end_backup(wal, start);
        commit(wal, 1, true);
      }
      wal.grow_to(kSize.start(segno) + 500'000);
      commits.push_back(
          commit(wal, static_cast<std::int64_t>(segno) * 10 - (segno < 5 ? 0 : back)));
    }
    wal.grow_to(kSize.start(9));
  }
  static WalBuilder::Options options() {
    WalBuilder::Options options;
    options.switch_every = 0;
    options.abort_every = 0;
    return options;
  }
  std::unique_ptr<ArchiveWal> open() {
    directory = archive.disk.open();
    return std::make_unique<ArchiveWal>(*directory, [this] { return stopped; });
  }
  WalOfBackup look(const FoundBackup& which, std::optional<PgTime> until = std::nullopt) {
    const auto wal_facts = open();
    const auto& line = wal_facts->lines().back();
    return wal_facts->look(which, line, line.stretches.back(), until);
  }

  WalBuilder wal;
  Lsn start, end;
  std::vector<Lsn> commits;
  ArchiveBuilder archive;
  std::unique_ptr<io::Directory> directory;
  bool stopped = false;
};

TEST(ArchiveWal, TellsABackupsTimeByTheFirstCommitBehindItsEnd) {
  for (const auto method : {Method::none, Method::zstd}) {
    Example example;
    example.archive.segments(example.wal, 1, 9, method);
    const auto found = example.look(backup(example.start, example.end));
    EXPECT_EQ(found.state, State::sound);
    EXPECT_EQ(found.time, second(50));
    // A commit that begins where the backup ends is behind it.
    EXPECT_EQ(example.look(backup(example.start, example.commits[5])).time, second(60));
    EXPECT_EQ(example.look(backup(example.start, example.commits[5] + 8)).time, second(70));
    // Behind the last commit there is none.
    const auto last = example.look(backup(example.start, example.commits[7] + 8));
    EXPECT_EQ(last.state, State::sound);
    EXPECT_EQ(last.time, std::nullopt);
  }
}

TEST(ArchiveWal, TakesNoBackupForOlderThanWhatWasCommittedBeforeIt) {
  Example example(45);  // the server's clock was set back: the commit behind the end says 5
  example.archive.segments(example.wal, 1, 9);
  EXPECT_EQ(example.look(backup(example.start, example.end)).time, second(40));
  const auto wal = example.open();
  const auto& line = wal->lines().back();
  EXPECT_EQ(wal->newest_commit(line, line.stretches.back()).time, second(40));
}

TEST(ArchiveWal, FindsTheEndOfABackupWithoutAManifest) {
  Example example;
  example.archive.segments(example.wal, 1, 9);
  const auto found = example.look(backup(example.start));
  EXPECT_EQ(found.state, State::sound);
  EXPECT_EQ(found.time, second(50));
  EXPECT_FALSE(found.guessed);
  EXPECT_EQ(found.end, example.end);
  EXPECT_EQ(found.end_timeline, 1u);
  // For a store that is pruned.
  const auto facts = example.open();
  auto point = *backup(example.start).point;
  add_end(point, *facts);
  EXPECT_EQ(point.end, example.end);
  EXPECT_EQ(point.end_timeline, 1u);
  auto other = *backup(example.start + 8).point;
  add_end(other, *facts);
  EXPECT_EQ(other.end, std::nullopt);
  EXPECT_EQ(example.look(backup(example.start + 8)).state, State::not_ended)
      << "the end of another backup";
  EXPECT_EQ(example.look(backup(kSize.start(6) + 0x28)).state, State::not_ended);
  // It began too late: no need to look for its end.
  auto young = backup(kSize.start(6) + 0x28);
  young.point->began = second(90);
  const auto seen = example.look(young, second(80));
  EXPECT_EQ(seen.state, State::sound);
  EXPECT_EQ(seen.time, second(90));
}

TEST(ArchiveWal, GoesByTheBeginOfAStandbysBackupWithoutAManifest) {
  Example example;
  example.archive.segments(example.wal, 1, 9);
  auto standby = backup(kSize.start(6) + 0x28);
  standby.point->from_standby = true;
  standby.point->began = second(55);
  EXPECT_EQ(example.look(standby).state, State::not_ended) << "as far as anybody can tell";
  standby.vouched = true;  // somebody names it
  auto found = example.look(standby);
  EXPECT_EQ(found.state, State::sound);
  EXPECT_TRUE(found.guessed);
  EXPECT_EQ(found.time, second(55));
}

TEST(ArchiveWal, TellsDamageWithinTheBackup) {
  const std::pair<std::uint64_t, State> cases[] = {{2, State::sound},
                                                   {3, State::damaged},
                                                   {4, State::damaged},
                                                   {5, State::damaged},
                                                   {6, State::sound}};
  for (const auto& [segno, state] : cases) {
    for (const bool manifest : {true, false}) {
      SCOPED_TRACE(::testing::Message() << segno << ", manifest " << manifest);
      Example example;
      example.archive.segments(example.wal, 1, 9);
      example.archive.flip(ArchiveBuilder::name(example.wal, segno), 70'000, 3);
      const auto which =
          backup(example.start, manifest ? std::optional(example.end) : std::nullopt);
      const auto found = example.look(which);
      EXPECT_EQ(found.state, state) << found.what;
      EXPECT_EQ(found.what.empty(), state == State::sound);
    }
  }
}

TEST(ArchiveWal, TellsABackupWhoseEndHasNotComeYet) {
  Example example;
  example.archive.segments(example.wal, 1, 5).partial(example.wal, Lsn(example.end.byte() - 64));
  const auto found = example.look(backup(example.start, example.end));
  EXPECT_EQ(found.state, State::not_ended);
  EXPECT_THAT(found.what, HasSubstr("it ends at"));
  EXPECT_EQ(example.look(backup(example.start)).state, State::not_ended);
  // In the unfinished segment it counts.
  Example later;
  later.archive.segments(later.wal, 1, 5).partial(later.wal, later.commits[4] + 512);
  EXPECT_EQ(later.look(backup(later.start, later.end)).time, second(50));
  EXPECT_EQ(later.look(backup(later.start)).time, second(50));
}

TEST(ArchiveWal, TellsAStranger) {
  Example example;
  example.archive.segments(example.wal, 1, 9);
  auto other = backup(example.start, example.end);
  other.point->system_identifier = 1;
  EXPECT_EQ(example.look(other).state, State::stranger);
  other.point->system_identifier = example.wal.options().system_identifier;
  EXPECT_EQ(example.look(other).state, State::sound);
  other.point->checkpoint = example.start + 8;
  EXPECT_EQ(example.look(other).state, State::stranger) << "no checkpoint is there";
  auto wide = backup(example.start, example.end);
  wide.point->places.push_back({example.start, wal::SegmentName(1, 99, kSize)});
  EXPECT_EQ(example.look(wide).state, State::stranger) << "of another segment size";
}

TEST(ArchiveWal, FindsTheNewestCommit) {
  Example example;
  example.archive.segments(example.wal, 1, 9);
  const auto newest = [&] {
    const auto wal_facts = example.open();
    const auto& line = wal_facts->lines().back();
    return wal_facts->newest_commit(line, line.stretches.back());
  };
  EXPECT_EQ(newest().time, second(80));
  EXPECT_FALSE(newest().unsure);
  for (std::uint64_t segno = 6; segno < 9; ++segno)
    example.archive.disk.erase(ArchiveBuilder::name(example.wal, segno));
  // An unfinished one counts as far as it goes.
  example.archive.partial(example.wal, example.commits[5]);
  EXPECT_EQ(newest().time, second(50));
  example.archive.partial(example.wal, example.commits[5] + 512);
  EXPECT_EQ(newest().time, second(60));
  // Where it cannot be read a later one may be.
  example.archive.flip(ArchiveBuilder::name(example.wal, 5), 900'000, 2);
  EXPECT_TRUE(newest().unsure);
  // Those before it count, also if there is none between the first look's start and the damage.
  example.archive.disk.erase(ArchiveBuilder::name(example.wal, 6) + ".partial");
  example.archive.flip(ArchiveBuilder::name(example.wal, 4), 8192, 2);
  EXPECT_TRUE(newest().unsure);
  EXPECT_EQ(newest().time, second(30));

  Example none;
  WalBuilder quiet(Example::options());
  quiet.grow_to(kSize.start(4));
  none.archive.segments(quiet, 1, 4);
  const auto wal_facts = none.open();
  const auto found =
      wal_facts->newest_commit(wal_facts->lines()[0], wal_facts->lines()[0].stretches[0]);
  EXPECT_EQ(found.time, std::nullopt);
  EXPECT_FALSE(found.unsure);
}

TEST(ArchiveWal, DividesEachWayAtItsHoles) {
  Example example;
  auto& archive = example.archive;
  archive.segments(example.wal, 1, 4).segments(example.wal, 5, 7);
  archive.partial(example.wal, kSize.start(7) + 1000);
  auto wal_facts = example.open();
  ASSERT_EQ(wal_facts->lines().size(), 1u);
  EXPECT_THAT(wal_facts->lines()[0].stretches,
              ElementsAre(Stretch{kSize.start(1), kSize.start(4)},
                          Stretch{kSize.start(5), kSize.start(8)}));
  // A recorded hole that only an unfinished segment lies behind.
  archive.disk.erase(ArchiveBuilder::name(example.wal, 6));
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = kSize.start(6);
  loss.end = kSize.start(7);
  loss.sound_end = loss.begin;
  loss.segment_size = kSize;
  archive::record_loss(*archive.disk.open(), loss);
  wal_facts = example.open();
  EXPECT_EQ(wal_facts->lines()[0].stretches.back(), (Stretch{kSize.start(5), kSize.start(6)}));
}

/// The server still had it: what is being received continues it.
TEST(ArchiveWal, EndsNoWayAtTheEndOfAHoleThatAnImportHasFilled) {
  Example example;
  auto& archive = example.archive;
  archive.segments(example.wal, 1, 4).segments(example.wal, 6, 7);
  archive.partial(example.wal, kSize.start(7) + 1000);
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = kSize.start(4);
  loss.end = kSize.start(7);
  loss.segment_size = kSize;
  archive::record_loss(*archive.disk.open(), loss);
  const auto wal_facts = example.open();
  ASSERT_EQ(wal_facts->lines().size(), 1u);
  EXPECT_THAT(wal_facts->lines()[0].stretches,
              ElementsAre(Stretch{kSize.start(1), kSize.start(4)},
                          Stretch{kSize.start(6), kSize.start(8)}));
}

/// A recovery to a position before a hole starts a timeline, which does not have the hole.
TEST(ArchiveWal, EndsNoWayAtAHoleOfABranchThatItHasLeft) {
  Example example;
  auto& archive = example.archive;
  const auto fork = example.wal.fork_point(kSize.start(5) + 600'000);
  auto two = verify::promote(example.wal, fork, 2, 9);
  two.grow_to(kSize.start(8));
  archive.segments(example.wal, 1, 6).segments(two, 5, 7).history(2, verify::history_line(1, fork));
  archive.partial(two, kSize.start(7) + 1000);
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = kSize.start(6);
  loss.end = kSize.start(9);
  loss.segment_size = kSize;
  archive::record_loss(*archive.disk.open(), loss);
  const auto wal_facts = example.open();
  ASSERT_EQ(wal_facts->lines().size(), 2u);
  EXPECT_THAT(wal_facts->lines()[0].stretches,
              ElementsAre(Stretch{kSize.start(1), kSize.start(6)}));
  EXPECT_THAT(wal_facts->lines()[1].stretches,
              ElementsAre(Stretch{kSize.start(1), kSize.start(8)}));
}

TEST(ArchiveWal, DividesEachWayWhereNobodyHasVouchedForABorder) {
  for (const bool left : {true, false})
    for (const bool right : {true, false}) {
      SCOPED_TRACE(::testing::Message() << left << right);
      Example example;
      example.archive.segments(example.wal, 1, 9);
      archive::Unvouched part;
      part.timeline = 1;
      part.begin = kSize.start(3);
      part.end = kSize.start(6);
      part.segment_size = kSize;
      part.left = left;
      part.right = right;
      const auto directory = example.archive.disk.open();
      archive::DirectoryHome home(*directory);
      archive::record_unvouched(home, part);
      std::vector<Stretch> expected = {{kSize.start(1), kSize.start(9)}};
      const auto divide = [&](std::uint64_t segno) {
        expected.push_back({kSize.start(segno), expected.back().end});
        expected[expected.size() - 2].end = kSize.start(segno);
      };
      if (left) divide(3);
      if (right) divide(6);
      EXPECT_EQ(example.open()->lines()[0].stretches, expected);
    }
}

TEST(ArchiveWal, GoesAlongEachTimeline) {
  Example example;
  auto& archive = example.archive;
  const auto at = example.wal.fork_point(kSize.start(6) + 600'000);
  auto two = verify::promote(example.wal, at, 2, 9);
  two.grow_to(kSize.start(7) + 200'000);
  const auto late = end_backup(two, example.start);
  commit(two, 75);
  two.grow_to(kSize.start(9));
  archive.segments(example.wal, 1, 9).segments(two, 6, 9);
  archive.history(2, verify::history_line(1, at));
  const auto wal_facts = example.open();
  ASSERT_EQ(wal_facts->lines().size(), 2u);
  const auto& one = wal_facts->lines()[0];
  const auto& main = wal_facts->lines()[1];
  EXPECT_EQ(main.history.timeline(), 2u);
  EXPECT_THAT(main.stretches, ElementsAre(Stretch{kSize.start(1), kSize.start(9)}));
  EXPECT_EQ(wal_facts->newest_commit(one, one.stretches[0]).time, second(80));
  EXPECT_EQ(wal_facts->newest_commit(main, main.stretches[0]).time, second(75));
  // A standby's backup that began before the switch.
  auto over = backup(example.start, late);
  over.point->end_timeline = 2;
  EXPECT_TRUE(lies_on(*over.point, main.history));
  EXPECT_FALSE(lies_on(*over.point, one.history));
  EXPECT_EQ(wal_facts->look(over, main, main.stretches[0], std::nullopt).time, second(75));
}

TEST(ArchiveWal, DecidesNothingByAHistoryThatCannotBeRead) {
  Example example;
  example.archive.segments(example.wal, 1, 9);
  auto two = verify::promote(example.wal, example.wal.fork_point(kSize.start(8)), 2, 9);
  two.grow_to(kSize.start(10));
  example.archive.segments(two, 8, 10).history(2, "rubbish");
  const auto error = test::error_of([&] { example.open(); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_FALSE(error.hint().empty());
}

TEST(ArchiveWal, StopsWhenAskedTo) {
  Example example;
  example.archive.segments(example.wal, 1, 9);
  example.stopped = true;
  const auto error =
      test::error_of([&] { static_cast<void>(example.look(backup(example.start, example.end))); });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
}

TEST(ArchiveWal, PassesOnWhatTheDiskRefuses) {
  Example example;
  example.archive.segments(example.wal, 1, 9);
  const auto wal_facts = example.open();
  const auto& line = wal_facts->lines().back();
  example.archive.disk.fail_every(sim::SimDisk::Operation::read, EIO);
  const auto error = test::error_of([&] {
    static_cast<void>(wal_facts->look(backup(example.start, example.end), line,
                                      line.stretches.back(), std::nullopt));
  });
  EXPECT_EQ(error.kind(), ErrorKind::io);
}

}  // namespace
}  // namespace weir::prune::archive_wal_test
