#include "receive/known_losses.h"

#include <gtest/gtest.h>

#include "unit/receive/recording_log.h"

namespace weir::receive::known_losses_test {
namespace {

archive::Loss hole(wal::TimelineId timeline, std::uint64_t begin, std::uint64_t end) {
  archive::Loss loss;
  loss.timeline = loss.next_timeline = timeline;
  loss.begin = wal::Lsn(begin);
  loss.end = wal::Lsn(end);
  loss.sound_end = loss.counted_to = loss.begin;
  return loss;
}

constexpr std::uint64_t kMb = 1 << 20;

TEST(KnownLosses, TellsEachRecordOnce) {
  test::RecordingLog log;
  KnownLosses losses(log);
  losses.set_recorded({hole(1, 16 * kMb, 32 * kMb)});
  losses.tell();
  losses.set_recorded({hole(1, 16 * kMb, 32 * kMb), hole(1, 64 * kMb, 80 * kMb)});
  losses.tell();
  EXPECT_EQ(log.count("the archive has a hole: WAL from 0/1000000 "), 1);
  EXPECT_EQ(log.count("the archive has a hole: WAL from 0/4000000 "), 1);
}

TEST(KnownLosses, KeepsWhatARecordSaidThatCannotBeReadAnyMore) {
  test::RecordingLog log;
  KnownLosses losses(log);
  losses.set_recorded({hole(1, 16 * kMb, 32 * kMb)});
  auto unreadable = hole(1, 16 * kMb, 17 * kMb);
  unreadable.complaint = "torn";
  losses.set_recorded({unreadable});
  ASSERT_EQ(losses.all().size(), 1u);
  EXPECT_EQ(losses.all()[0].end, wal::Lsn(32 * kMb));
  EXPECT_EQ(losses.all()[0].complaint, "torn");
}

TEST(KnownLosses, TellsWhyARecordCannotBeRead) {
  test::RecordingLog log;
  KnownLosses losses(log);
  auto unreadable = hole(1, 16 * kMb, 17 * kMb);
  unreadable.complaint = "torn";
  losses.set_recorded({unreadable});
  losses.tell();
  EXPECT_EQ(log.count("the record of a loss cannot be read"), 1);
  EXPECT_EQ(log.count("the archive has a hole: WAL from 0/1000000 "), 1) << "by its name";
}

TEST(KnownLosses, LeavesOutWhatIsOnlySeen) {
  test::RecordingLog log;
  KnownLosses losses(log);
  auto seen = hole(1, 16 * kMb, 32 * kMb);
  seen.recorded = false;
  losses.set_recorded({seen});
  EXPECT_TRUE(losses.all().empty());
}

TEST(KnownLosses, RecordsEachOnce) {
  test::RecordingLog log;
  KnownLosses losses(log);
  losses.add_pending(hole(1, 16 * kMb, 32 * kMb));
  losses.add_pending(hole(1, 16 * kMb, 32 * kMb));
  ASSERT_NE(losses.next_pending(), nullptr);
  EXPECT_EQ(losses.all().size(), 1u);
  losses.on_recorded(*losses.next_pending());
  EXPECT_EQ(losses.next_pending(), nullptr);
  EXPECT_EQ(log.count("the archive has a hole"), 1);
  losses.add_pending(hole(1, 16 * kMb, 32 * kMb));
  EXPECT_EQ(losses.next_pending(), nullptr);
  // A longer one begins at the same place: its record replaces the first one.
  losses.add_pending(hole(1, 16 * kMb, 48 * kMb));
  ASSERT_NE(losses.next_pending(), nullptr);
  losses.on_recorded(*losses.next_pending());
  ASSERT_EQ(losses.all().size(), 1u);
  EXPECT_EQ(losses.all()[0].end, wal::Lsn(48 * kMb));
}

TEST(KnownLosses, ForgetsHolesThatAreStreamedAgain) {
  test::RecordingLog log;
  KnownLosses losses(log);
  auto branch = hole(1, 96 * kMb, 97 * kMb);
  branch.kind = archive::Loss::Kind::lost_branch;
  branch.next_timeline = 2;
  losses.set_recorded({hole(1, 16 * kMb, 32 * kMb), hole(1, 64 * kMb, 80 * kMb),
                       hole(3, 64 * kMb, 80 * kMb), branch});
  EXPECT_EQ(losses.take_refilled(1, wal::Lsn(32 * kMb)),
            std::vector<std::string>{hole(1, 64 * kMb, 80 * kMb).id()});
  EXPECT_EQ(losses.all().size(), 3u);
  EXPECT_TRUE(losses.take_refilled(1, wal::Lsn(32 * kMb)).empty());
}

}  // namespace
}  // namespace weir::receive::known_losses_test
