#include "relay/archive_end.h"

#include <gtest/gtest.h>

#include <map>

#include "support/archive_builder.h"
#include "support/error_of.h"
#include "support/just_changed.h"
#include "wal/page.h"

namespace weir::relay::archive_end_test {
namespace {

using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::history_line;
using verify::kSize;
using verify::promote;
using wal::Lsn;

Lsn segment(std::uint64_t segno) { return kSize.start(segno); }

/// What is announced has to be there after a loss of power, too (P10).
class ArchiveEndTest : public ::testing::Test {
 protected:
  ArchiveEndTest() { wal_.grow_to(segment(7)); }

  /// Somebody has written it, and not synced it.
  void leave_unsynced(const std::string& name) {
    const auto content = archive_.disk.content(name);
    archive_.disk.erase(name);
    const auto directory = archive_.disk.open();
    directory->create(name)->write_at(0, content);
  }
  std::string name_of(const WalBuilder& wal, std::uint64_t segno, bool partial,
                      codec::Method method = codec::Method::none) {
    return ArchiveBuilder::name(wal, segno, method, partial);
  }
  void expect_to_outlive_the_power(wal::TimelineId timeline, Lsn end) {
    std::map<std::string, test::Bytes> before;
    {
      const auto served = find_served(*archive_.disk.open(), kSize);
      ASSERT_TRUE(served);
      ASSERT_EQ(served->timeline(), timeline);
      ASSERT_EQ(served->end, end);
      for (const auto& name : archive_.disk.names()) before[name] = archive_.disk.content(name);
    }
    archive_.disk.crash_losing_everything();
    for (const auto& [name, content] : before) {
      ASSERT_TRUE(archive_.disk.exists(name)) << name;
      EXPECT_TRUE(archive_.disk.content(name) == content) << name;
    }
    const auto served = find_served(*archive_.disk.open(), kSize);
    ASSERT_TRUE(served);
    EXPECT_EQ(served->timeline(), timeline);
    EXPECT_EQ(served->end, end);
  }

  ArchiveBuilder archive_;
  WalBuilder wal_{{.switch_every = 0}};  // behind a switch zeros are right
};

TEST_F(ArchiveEndTest, OfTheNewestTimelineIsDurable) {
  const auto end = wal_.complete_end(segment(3) + 300'000);
  for (const auto method : {codec::Method::none, codec::Method::gzip}) {
    archive_.segments(wal_, 1, 3).partial(wal_, end, ArchiveBuilder::Tail::zeros, method);
    leave_unsynced(name_of(wal_, 2, false));
    leave_unsynced(name_of(wal_, 3, true, method));
    expect_to_outlive_the_power(1, end);
    archive_.disk.erase(name_of(wal_, 3, true, method));
  }
}

/// Another program has copied several segments, and flushed none.
TEST_F(ArchiveEndTest, OfCopiedSegmentsIsDurable) {
  archive_.segments(wal_, 1, 6);
  for (std::uint64_t segno = 2; segno < 6; ++segno) leave_unsynced(name_of(wal_, segno, false));
  test::ChangedAgo directory(archive_.disk.open());
  ASSERT_TRUE(find_served(directory, kSize));
  archive_.disk.crash_losing_everything();
  for (std::uint64_t segno = 1; segno < 6; ++segno)
    EXPECT_TRUE(
        archive_.disk.holds(name_of(wal_, segno, false), 0, ArchiveBuilder::content(wal_, segno)));
}

TEST_F(ArchiveEndTest, OfAParentThatIsGoneBackToIsDurable) {
  const auto fork = wal_.fork_point(segment(4) + 400'000);
  const auto child = promote(wal_, fork, 2, 5);
  auto copy = child;
  const auto end = wal_.complete_end(segment(4) + 300'000);
  ASSERT_LT(end, fork);
  archive_.segments(wal_, 1, 4)
      .partial(wal_, end)
      .history(2, history_line(1, fork))
      .partial(copy, segment(4));
  leave_unsynced(name_of(wal_, 3, false));
  leave_unsynced(name_of(wal_, 4, true));
  leave_unsynced(name_of(child, 4, true));
  expect_to_outlive_the_power(1, end);
}

TEST_F(ArchiveEndTest, OfAGrandparentIsDurableBesideAnotherBranch) {
  const auto early = wal_.fork_point(segment(2) + 100'000);
  const auto fork = wal_.fork_point(segment(5) + 400'000);
  const auto end = wal_.complete_end(segment(5) + 300'000);
  auto other = promote(wal_, early, 2, 5);
  other.grow_to(segment(4));
  auto third = promote(wal_, fork, 3, 6);
  third.grow_to(segment(6));
  const auto later = third.fork_point(segment(5) + 900'000);
  auto fourth = promote(third, later, 4, 7);
  archive_.segments(wal_, 1, 5)
      .partial(wal_, end)
      .history(2, history_line(1, early))
      .segments(other, 2, 3)
      .history(3, history_line(1, fork))
      .history(4, history_line(1, fork) + history_line(3, later))
      .partial(fourth, segment(5));
  leave_unsynced(name_of(wal_, 4, false));
  leave_unsynced(name_of(wal_, 5, true));
  leave_unsynced(name_of(other, 2, false));
  expect_to_outlive_the_power(1, end);
}

/// The archive has the newest one's history alone.
TEST_F(ArchiveEndTest, IsBehindNoTimelineOfWhichNothingWasArchived) {
  const auto fork = wal_.fork_point(segment(5) + 400'000);
  const auto end = wal_.complete_end(segment(5) + 300'000);
  auto third = promote(wal_, fork, 3, 6);
  third.grow_to(segment(6));
  const auto later = third.fork_point(segment(5) + 900'000);
  auto fourth = promote(third, later, 4, 7);
  archive_.segments(wal_, 1, 5)
      .partial(wal_, end)
      .history(4, history_line(1, fork) + history_line(3, later))
      .partial(fourth, segment(5));
  expect_to_outlive_the_power(1, end);
}

/// In a copy of a pg_wal the segment in which the timeline was left has its full size and name.
TEST_F(ArchiveEndTest, InAFinishedSegmentOfAParentIsDurable) {
  const auto fork = wal_.fork_point(segment(4) + 400'000);
  auto child = promote(wal_, fork, 2, 5);
  archive_.segments(wal_, 1, 6).history(2, history_line(1, fork)).partial(child, segment(4));
  leave_unsynced(name_of(wal_, 3, false));
  leave_unsynced(name_of(wal_, 4, false));
  expect_to_outlive_the_power(1, fork);
}

/// A receiver is at work, and has written nothing of the next timeline yet: what clients were sent
/// up to the switchpoint is announced all the same.
TEST_F(ArchiveEndTest, IsTheSwitchpointInAFinishedSegmentWhileTheNextTimelineBegins) {
  const auto fork = wal_.fork_point(segment(4) + 400'000);
  auto child = promote(wal_, fork, 2, 5);
  archive_.segments(wal_, 1, 5)
      .partial(wal_, wal_.complete_end(segment(5) + 300'000))
      .history(2, history_line(1, fork))
      .partial(child, segment(4));
  leave_unsynced(name_of(wal_, 4, false));
  for (int i = 0; i < 2; ++i) {
    const auto served = find_served(*archive_.disk.open(), kSize, Counts::finished);
    ASSERT_TRUE(served);
    EXPECT_EQ(served->timeline(), 1u);
    EXPECT_EQ(served->end, fork);
    archive_.disk.crash_losing_everything();
  }
}

TEST_F(ArchiveEndTest, IsInFrontOfABreakThatIsNamed) {
  const auto end = wal_.complete_end(segment(3) + 300'000);
  archive_.segments(wal_, 1, 3).partial(wal_, end);
  const auto name = name_of(wal_, 3, true);
  const auto sound = archive_.disk.content(name);
  const auto look = [&] { return find_served(*archive_.disk.open(), kSize); };
  ASSERT_TRUE(look());
  EXPECT_FALSE(look()->broken);
  for (const std::uint64_t at : {40ull, 8192ull + 8, 100'000ull, 200'000ull}) {
    SCOPED_TRACE(at);
    archive_.disk.put(name, sound);
    archive_.flip(name, at, 3);
    const auto served = look();
    ASSERT_TRUE(served);
    EXPECT_LE(served->end, segment(3) + at);
    EXPECT_GT(served->end + 100'000, segment(3) + at) << "no more than one record is withheld";
    ASSERT_TRUE(served->broken);
    EXPECT_EQ(served->broken->file, name);
    EXPECT_LE(served->broken->at, segment(3) + at);
    // (Its record may begin in the complete segment.)
    EXPECT_GE(std::max(served->broken->at, segment(3)), served->end);
  }
  // Pages that were not synced are zeros after a loss of power, or what the file had before.
  for (const bool zeros : {true, false}) {
    auto torn = sound;
    const auto before = ArchiveBuilder::content(wal_, 2);
    for (std::size_t i = 2 * wal::kPageSize; i < 3 * wal::kPageSize; ++i)
      torn[i] = zeros ? std::byte{0} : before[i];
    archive_.disk.put(name, torn);
    const auto served = look();
    ASSERT_TRUE(served && served->broken);
    EXPECT_LE(served->end, segment(3) + 2 * wal::kPageSize);
  }
}

TEST_F(ArchiveEndTest, OfUnfinishedWalWithNothingBehindItIsNoBreak) {
  const auto end = wal_.complete_end(segment(3) + 300'000);
  for (const auto tail :
       {ArchiveBuilder::Tail::none, ArchiveBuilder::Tail::zeros, ArchiveBuilder::Tail::old}) {
    // Cut anywhere, as by a kill.
    for (const std::uint64_t more : {0, 8, 30, 400}) {
      archive_.segments(wal_, 1, 3).partial(wal_, end + more, tail);
      const auto served = find_served(*archive_.disk.open(), kSize);
      ASSERT_TRUE(served);
      EXPECT_GE(served->end, end);
      EXPECT_FALSE(served->broken) << served->broken->what;
    }
  }
}

/// A receiver has several unfinished segments for a moment.
TEST_F(ArchiveEndTest, OfSeveralUnfinishedSegmentsIsWhereTheFirstBreaksOff) {
  const auto end = wal_.complete_end(segment(4) + 300'000);
  archive_.segments(wal_, 1, 3).partial(wal_, end);
  const auto third = name_of(wal_, 3, true);
  const auto content = ArchiveBuilder::content(wal_, 3);
  archive_.disk.put(third, {content.begin(), content.end()});
  auto served = find_served(*archive_.disk.open(), kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, end);
  EXPECT_FALSE(served->broken);

  test::Bytes torn(content.begin(), content.begin() + 500'000);
  torn.resize(kSize.bytes());
  archive_.disk.put(third, torn);
  served = find_served(*archive_.disk.open(), kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, wal_.complete_end(segment(3) + 500'000));
  ASSERT_TRUE(served->broken);
  EXPECT_EQ(served->broken->file, third);

  // Nothing of the next one was written.
  archive_.disk.put(name_of(wal_, 4, true), test::Bytes(kSize.bytes()));
  served = find_served(*archive_.disk.open(), kSize);
  ASSERT_TRUE(served);
  EXPECT_FALSE(served->broken);
}

/// A crash may have lost the name of a segment; so may somebody who removed it.
TEST_F(ArchiveEndTest, InFrontOfAMissingSegmentIsABreakIfThereIsWalBehindIt) {
  const auto end = wal_.complete_end(segment(4) + 300'000);
  archive_.segments(wal_, 1, 3).partial(wal_, end);
  const auto look = [&] { return find_served(*archive_.disk.open(), kSize); };
  auto served = look();
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, segment(3));
  ASSERT_TRUE(served->broken);
  EXPECT_EQ(served->broken->file, name_of(wal_, 3, false));
  EXPECT_EQ(served->broken->at, segment(3));

  // Behind one that is not whole, and behind one that is.
  archive_.disk.open()->remove(name_of(wal_, 2, false));
  for (const std::size_t written : {std::size_t{500'000}, std::size_t{kSize.bytes()}}) {
    SCOPED_TRACE(written);
    const auto whole = ArchiveBuilder::content(wal_, 2);
    test::Bytes second(whole.begin(), whole.end());
    second.resize(written);
    second.resize(kSize.bytes());
    archive_.disk.put(name_of(wal_, 2, true), second);
    served = look();
    ASSERT_TRUE(served);
    ASSERT_TRUE(served->broken);
    EXPECT_LE(served->broken->at, segment(3));
    EXPECT_GE(served->broken->at, served->end);
    EXPECT_EQ(served->broken->file,
              written == kSize.bytes() ? name_of(wal_, 3, false) : name_of(wal_, 2, true));
  }

  // Nothing of the later one was written.
  archive_.disk.put(name_of(wal_, 4, true), test::Bytes(kSize.bytes()));
  served = look();
  ASSERT_TRUE(served);
  EXPECT_FALSE(served->broken);
}

/// As by an archive_command, which works on a segment at each moment while much is written.
TEST_F(ArchiveEndTest, IsBeforeSegmentsThatAreBeingCopied) {
  archive_.segments(wal_, 1, 5).partial(wal_, wal_.complete_end(segment(6) + 300'000));
  for (const auto segno : {3, 4}) {
    auto cut = archive_.disk.content(name_of(wal_, segno, false));
    cut.resize(segno == 3 ? 300'000 : 0);
    archive_.disk.put(name_of(wal_, segno, false), cut);
  }
  test::JustChanged directory(archive_.disk.open());
  EXPECT_TRUE(find_cluster(directory));
  auto served = find_served(directory, kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, segment(3));
  EXPECT_TRUE(served->being_copied);
  EXPECT_FALSE(served->damage || served->broken);
  for (const auto segno : {1, 2}) archive_.disk.erase(name_of(wal_, segno, false));
  EXPECT_TRUE(find_cluster(directory));
  for (const auto counts : {Counts::everything, Counts::finished})
    EXPECT_EQ(
        test::error_of([&] { static_cast<void>(find_served(directory, kSize, counts)); }).kind(),
        ErrorKind::retry)
        << "not the partial one behind them";
  archive_.segments(wal_, 3, 5);
  served = find_served(directory, kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, segment(5));
  EXPECT_FALSE(served->being_copied);
}

TEST_F(ArchiveEndTest, LiesBehindADamagedFinishedSegment) {
  const auto end = wal_.complete_end(segment(3) + 300'000);
  archive_.segments(wal_, 1, 3).partial(wal_, end);
  archive_.flip(name_of(wal_, 2, false), 100'000, 3);
  auto served = find_served(*archive_.disk.open(), kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, end);
  EXPECT_FALSE(served->broken);
  ASSERT_TRUE(served->damage);
  EXPECT_NE(std::string(served->damage->what()).find(name_of(wal_, 2, false)), std::string::npos);
  // With nothing behind it, too.
  archive_.disk.open()->remove(name_of(wal_, 3, true));
  served = find_served(*archive_.disk.open(), kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, wal_.complete_end(segment(3)));
  // Cut off, as by another program.
  auto cut = archive_.disk.content(name_of(wal_, 2, false));
  cut.resize(300'000);
  archive_.disk.put(name_of(wal_, 2, false), cut);
  served = find_served(*archive_.disk.open(), kSize);
  ASSERT_TRUE(served);
  EXPECT_GE(served->end, segment(2) + 300'000) << "who comes there gets an error";
  EXPECT_TRUE(served->damage);
  // Another form that is whole is served in its place.
  archive_.segments(wal_, 2, 3, codec::Method::zstd);
  served = find_served(*archive_.disk.open(), kSize);
  ASSERT_TRUE(served);
  EXPECT_FALSE(served->damage);
}

}  // namespace
}  // namespace weir::relay::archive_end_test
