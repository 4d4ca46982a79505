#include "archive/branch.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "archive/timelines.h"
#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::archive::branch_test {
namespace {

using wal::Lsn;
using Relation = Branch::Relation;

Timelines timelines_of(const std::map<wal::TimelineId, std::string>& histories) {
  sim::SimDisk disk;
  for (const auto& [timeline, content] : histories)
    disk.put(wal::history_name(timeline), test::as_bytes(content));
  const auto directory = disk.open();
  return Timelines::read(*directory, list_archive(*directory));
}

const std::string kTwo = "1\t0/4000000\tx\n";                     // 2 left 1 at 4
const std::string kThree = "1\t0/4000000\tx\n2\t0/6000000\ty\n";  // 3 left 2 at 6
const std::string kOtherTwo = "1\t0/3000000\tx\n";                // another 2, from 3
const std::string kSibling = "1\t0/5000000\tx\n";                 // left 1 at 5

TEST(CompareWithServer, ComparesPositionsOnlyAsFarAsTheHistoriesAreOne) {
  struct Case {
    const char* name;
    std::map<wal::TimelineId, std::string> histories;
    TimelineEnds ends;
    wal::TimelineId timeline;
    std::uint64_t position;
    const char* own_history;  ///< "" none, nullptr: timeline 1
    Relation relation;
    std::uint64_t missing_from, missing_to;
    std::uint64_t fork = 0;
  };
  const auto L = [](std::uint64_t byte) { return Lsn(byte); };
  const Case cases[] = {
      {"caught up",
       {},
       {{1, L(0x4000000)}},
       1,
       0x4000000,
       nullptr,
       Relation::same,
       0x4000000,
       0x4000000},
      {"the archive is behind",
       {},
       {{1, L(0x4000000)}},
       1,
       0x4500000,
       nullptr,
       Relation::ahead,
       0x4000000,
       0x4500000},
      {"a server behind",
       {},
       {{1, L(0x4000000)}},
       1,
       0x3500000,
       nullptr,
       Relation::behind,
       0x3500000,
       0x3500000},
      {"the old primary, with WAL of its own",
       {{2, kTwo}},
       {{1, L(0x4000000)}, {2, L(0x5000000)}},
       1,
       0x4100000,
       nullptr,
       Relation::diverged,
       0x4000000,
       0x4100000,
       0x4000000},
      {"the same, less of it than the archive has on its own timeline",
       {{2, kTwo}},
       {{1, L(0x4000000)}, {2, L(0x9000000)}},
       1,
       0x4100000,
       nullptr,
       Relation::diverged,
       0x4000000,
       0x4100000,
       0x4000000},
      {"the same, some of it acknowledged before the failover",
       {{2, kTwo}},
       {{1, L(0x4080000)}, {2, L(0x5000000)}},
       1,
       0x4100000,
       nullptr,
       Relation::diverged,
       0x4080000,
       0x4100000,
       0x4000000},
      {"the same, all of it",
       {{2, kTwo}},
       {{1, L(0x4100000)}, {2, L(0x5000000)}},
       1,
       0x4100000,
       nullptr,
       Relation::diverged,
       0x4100000,
       0x4100000,
       0x4000000},
      {"the same, of the old timeline only a copy is there",
       {{2, kTwo}},
       {{2, L(0x5000000)}},
       1,
       0x4100000,
       nullptr,
       Relation::diverged,
       0x4000000,
       0x4100000,
       0x4000000},
      {"the same, of the new timeline only the history is there",
       {{2, kTwo}},
       {{1, L(0x4000000)}},
       1,
       0x4100000,
       nullptr,
       Relation::diverged,
       0x4000000,
       0x4100000,
       0x4000000},
      {"the old primary, stopped at the switch",
       {{2, kTwo}},
       {{1, L(0x4000000)}, {2, L(0x5000000)}},
       1,
       0x4000000,
       nullptr,
       Relation::behind,
       0x4000000,
       0x4000000,
       0x4000000},
      {"the old primary, stopped before the switch",
       {{2, kTwo}},
       {{1, L(0x4000000)}, {2, L(0x5000000)}},
       1,
       0x3000000,
       nullptr,
       Relation::behind,
       0x3000000,
       0x3000000,
       0x4000000},
      {"two switches ago",
       {{2, kTwo}, {3, kThree}},
       {{1, L(0x4000000)}, {2, L(0x6000000)}, {3, L(0x7000000)}},
       2,
       0x6800000,
       kTwo.c_str(),
       Relation::diverged,
       0x6000000,
       0x6800000,
       0x6000000},
      {"a timeline ahead that goes on from the archive's end",
       {},
       {{1, L(0x3000000)}},
       2,
       0x5000000,
       kTwo.c_str(),
       Relation::ahead,
       0x3000000,
       0x5000000},
      {"the same, and it begins exactly there",
       {},
       {{1, L(0x4000000)}},
       2,
       0x5000000,
       kTwo.c_str(),
       Relation::ahead,
       0x4000000,
       0x5000000},
      {"a timeline ahead that lacks what the archive has",
       {},
       {{1, L(0x4800000)}},
       2,
       0x5000000,
       kTwo.c_str(),
       Relation::diverged,
       0x4000000,
       0x5000000,
       0x4000000},
      {"a sibling",
       {{2, kTwo}},
       {{1, L(0x4000000)}, {2, L(0x7000000)}},
       3,
       0x6000000,
       kSibling.c_str(),
       Relation::diverged,
       0x4000000,
       0x6000000,
       0x4000000},
      {"a sibling of the same number",
       {{2, kTwo}},
       {{1, L(0x4000000)}, {2, L(0x7000000)}},
       2,
       0x6000000,
       kOtherTwo.c_str(),
       Relation::diverged,
       0x3000000,
       0x6000000,
       0x3000000},
      {"a branch that the archive has, too",
       {{2, kTwo}, {3, kSibling}},
       {{1, L(0x5000000)}, {2, L(0x7000000)}, {3, L(0x8000000)}},
       2,
       0x7100000,
       kTwo.c_str(),
       Relation::diverged,
       0x7000000,
       0x7100000,
       0x4000000},
      {"nobody knows its history",
       {},
       {{1, L(0x4000000)}},
       7,
       0x5000000,
       "",
       Relation::unknown,
       0x5000000,
       0x5000000},
      {"its history is the archive's",
       {{2, kTwo}},
       {{1, L(0x4000000)}, {2, L(0x5000000)}},
       2,
       0x5000000,
       "",
       Relation::same,
       0x5000000,
       0x5000000},
      {"an archive that begins on its timeline",
       {},
       {{7, L(0x4000000)}},
       7,
       0x5000000,
       "",
       Relation::ahead,
       0x4000000,
       0x5000000},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    ServerPlace server{.timeline = test.timeline, .position = Lsn(test.position)};
    if (test.own_history != nullptr && *test.own_history != '\0')
      server.history = wal::TimelineHistory::parse(test.timeline, test.own_history);
    const auto branch = compare_with_server(timelines_of(test.histories), test.ends, server);
    ASSERT_TRUE(branch);
    EXPECT_EQ(to_string(branch->relation), to_string(test.relation));
    EXPECT_EQ(branch->missing_from, Lsn(test.missing_from));
    EXPECT_EQ(branch->missing_to, Lsn(test.missing_to));
    EXPECT_EQ(branch->fork, Lsn(test.fork));
    EXPECT_EQ(remark_on(*branch, server).loss,
              test.relation == Relation::diverged && branch->missing() > 0);
  }
  EXPECT_FALSE(compare_with_server(timelines_of({}), {}, {.timeline = 1}));
}

TEST(RemarkOnABranch, TellsASetBackPrimaryFromASlowStandby) {
  const TimelineEnds ends{{1, Lsn(0x4000000)}};
  ServerPlace server{.timeline = 1, .position = Lsn(0x3000000), .standby = true};
  const auto branch = compare_with_server(timelines_of({}), ends, server);
  EXPECT_TRUE(remark_on(*branch, server).what.empty());
  server.standby = false;
  EXPECT_NE(remark_on(*branch, server).what.find("reset to an earlier state"), std::string::npos);
}

}  // namespace
}  // namespace weir::archive::branch_test
