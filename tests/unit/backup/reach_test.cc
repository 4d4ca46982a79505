#include "backup/reach.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::backup::reach_test {
namespace {

using prune::Line;
using ::testing::HasSubstr;
using State = Reach::State;
using wal::Lsn;
using wal::TimelineHistory;

archive::BackupPoint backup(std::uint64_t start, std::uint64_t end, wal::TimelineId timeline = 1,
                            wal::TimelineId end_timeline = 0) {
  archive::BackupPoint point;
  point.timeline = timeline;
  point.start = Lsn(start);
  point.end = Lsn(end);
  point.end_timeline = end_timeline == 0 ? timeline : end_timeline;
  return point;
}

/// Without a manifest.
archive::BackupPoint backup_without_end(std::uint64_t start, wal::TimelineId timeline = 1) {
  archive::BackupPoint point;
  point.timeline = timeline;
  point.start = Lsn(start);
  return point;
}

std::vector<Line> one(std::vector<prune::Stretch> stretches) {
  return {Line{TimelineHistory(1), std::move(stretches)}};
}

struct Case {
  const char* what;
  archive::BackupPoint point;
  std::vector<Line> lines;
  State state;
};

TEST(BackupReach, TellsWhatMayStillComeFromWhatCannot) {
  const TimelineHistory second =
      *TimelineHistory::parse(2, "1\t0/1000\tno recovery target specified\n");
  const std::vector<Case> cases = {
      {"all is there", backup(0x100, 0x200), one({{Lsn(0x100), Lsn(0x200)}}), State::covered},
      {"its end is not there yet", backup(0x100, 0x201), one({{Lsn(0x100), Lsn(0x200)}}),
       State::waits},
      {"the archive is before its begin", backup(0x300, 0x400), one({{Lsn(0x100), Lsn(0x200)}}),
       State::waits},
      {"the archive begins behind its begin", backup(0xff, 0x200), one({{Lsn(0x100), Lsn(0x300)}}),
       State::lost},
      {"a hole in it, and WAL behind that", backup(0x180, 0x280),
       one({{Lsn(0x100), Lsn(0x200)}, {Lsn(0x240), Lsn(0x300)}}), State::lost},
      {"it begins in a hole", backup(0x210, 0x280),
       one({{Lsn(0x100), Lsn(0x200)}, {Lsn(0x240), Lsn(0x300)}}), State::lost},
      {"a hole before it does not matter", backup(0x250, 0x280),
       one({{Lsn(0x100), Lsn(0x200)}, {Lsn(0x240), Lsn(0x300)}}), State::covered},
      {"there is no WAL at all", backup(0x100, 0x200), {}, State::waits},
      {"behind the archive in number, and of another branch",
       backup(0x1100, 0x1200, 1),
       {Line{second, {{Lsn(0x100), Lsn(0x2000)}}}},
       State::foreign},
      {"on a timeline that the archive has not reached", backup(0x1100, 0x1200, 2),
       one({{Lsn(0x100), Lsn(0x1000)}}), State::waits},
      {"over a promotion",
       backup(0x800, 0x1200, 1, 2),
       {Line{TimelineHistory(1), {{Lsn(0x100), Lsn(0x1000)}}},
        Line{second, {{Lsn(0x100), Lsn(0x2000)}}}},
       State::covered},
      {"the newest way lacks it, an older one has it",
       backup(0x100, 0x200),
       {Line{TimelineHistory(1), {{Lsn(0x100), Lsn(0x1000)}}},
        Line{second, {{Lsn(0x800), Lsn(0x2000)}}}},
       State::covered},
      {"of one without an end, the start is there", backup_without_end(0x100),
       one({{Lsn(0x100), Lsn(0x200)}}), State::covered},
      {"and a hole behind it does not matter", backup_without_end(0x180),
       one({{Lsn(0x100), Lsn(0x200)}, {Lsn(0x240), Lsn(0x300)}}), State::covered},
      {"the archive begins behind it", backup_without_end(0xff), one({{Lsn(0x100), Lsn(0x300)}}),
       State::lost},
      {"the archive ends where it starts", backup_without_end(0x200),
       one({{Lsn(0x100), Lsn(0x200)}}), State::waits},
      {"its timeline has not been reached", backup_without_end(0x1100, 2),
       one({{Lsn(0x100), Lsn(0x1000)}}), State::waits},
      {"it is of another branch",
       backup_without_end(0x1100, 1),
       {Line{second, {{Lsn(0x100), Lsn(0x2000)}}}},
       State::foreign},
  };
  for (const auto& each : cases) {
    const auto reach = find_reach(each.point, each.lines);
    EXPECT_EQ(reach.state, each.state) << each.what << ": " << reach.what;
    EXPECT_EQ(reach.what.empty(), each.state == State::covered) << each.what;
    EXPECT_EQ(reach.line != nullptr, each.state == State::covered) << each.what;
  }
}

}  // namespace
}  // namespace weir::backup::reach_test
