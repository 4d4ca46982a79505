#include "relay/served.h"

#include <gtest/gtest.h>

namespace weir::relay::served_test {
namespace {

using Told = ServedEnd::Told;
using wal::Lsn;

wal::TimelineHistory history(wal::TimelineId timeline, const std::string& lines) {
  return *wal::TimelineHistory::parse(timeline, lines);
}

TEST(ServedEnd, GoesOnAndNeverBack) {
  ServedEnd end({wal::TimelineHistory(1), Lsn(100)});
  EXPECT_EQ(end.on_durable(wal::TimelineHistory(1), Lsn(100)), Told::nothing);
  EXPECT_EQ(end.on_durable(wal::TimelineHistory(1), Lsn(60)), Told::nothing);
  EXPECT_EQ(end.now().end, Lsn(100));
  EXPECT_EQ(end.on_durable(wal::TimelineHistory(1), Lsn(101)), Told::further);
  EXPECT_EQ(end.now().end, Lsn(101));
}

TEST(ServedEnd, TakesANewTimelineOnceThereIsMoreOfItThanTheCopy) {
  ServedEnd end({wal::TimelineHistory(1), Lsn(0x250)});
  const auto second = history(2, "1\t0/200\tno reason\n");
  // A receiver begins it at the segment's first byte.
  for (const auto lsn : {0x100u, 0x1ffu, 0x200u}) {
    EXPECT_EQ(end.on_durable(second, Lsn(lsn)), Told::nothing);
    EXPECT_EQ(end.now().timeline(), 1u);
    EXPECT_EQ(end.now().end, Lsn(0x250));
  }
  EXPECT_EQ(end.on_durable(second, Lsn(0x201)), Told::switched);
  EXPECT_EQ(end.now().timeline(), 2u);
  EXPECT_EQ(end.now().end, Lsn(0x201));
  // What is still told of the old one is over.
  EXPECT_EQ(end.on_durable(wal::TimelineHistory(1), Lsn(0x300)), Told::nothing);
  EXPECT_EQ(end.now().timeline(), 2u);
}

TEST(ServedEnd, FollowsSeveralSwitchesAtOnce) {
  ServedEnd end({wal::TimelineHistory(1), Lsn(0x200)});
  const auto fourth = history(4, "1\t0/200\tx\n2\t0/280\tx\n3\t0/280\tx\n");
  EXPECT_EQ(end.on_durable(fourth, Lsn(0x280)), Told::nothing);
  EXPECT_EQ(end.on_durable(fourth, Lsn(0x281)), Told::switched);
  EXPECT_EQ(end.now().timeline(), 4u);
}

TEST(ServedEnd, DoesNotFollowAHistoryThatIsNotItsOwn) {
  ServedEnd end({history(2, "1\t0/200\tx\n"), Lsn(0x300)});
  EXPECT_EQ(end.on_durable(history(3, "1\t0/220\tx\n"), Lsn(0x400)), Told::foreign);
  EXPECT_EQ(end.now().timeline(), 2u);
  EXPECT_EQ(end.now().end, Lsn(0x300));
}

/// A starting receiver fetches a history file that was removed because it could not be read.
TEST(ServedEnd, LearnsTheAncestorsOfItsTimelineLater) {
  ServedEnd end({wal::TimelineHistory(2), Lsn(0x300)});
  EXPECT_EQ(end.on_durable(history(2, "1\t0/300\tx\n"), Lsn(0x300)), Told::nothing);
  EXPECT_TRUE(end.now().lacks_ancestors()) << "not all of their WAL is durable";
  const auto second = history(2, "1\t0/200\tx\n");
  EXPECT_EQ(end.on_durable(second, Lsn(0x2ff)), Told::further);
  EXPECT_EQ(end.now().history, second);
  EXPECT_EQ(end.now().end, Lsn(0x300));
  EXPECT_EQ(end.on_durable(wal::TimelineHistory(2), Lsn(0x300)), Told::nothing);
  EXPECT_EQ(end.on_durable(history(2, "1\t0/100\tx\n"), Lsn(0x300)), Told::nothing);
  EXPECT_EQ(end.now().history, second) << "those that were announced stay";
  EXPECT_FALSE(Served({wal::TimelineHistory(1), Lsn(1)}).lacks_ancestors()) << "it has none";
}

TEST(Cluster, IsOfTheVersionThatItsServerSays) {
  const struct {
    const char* said;
    const char* version;
    int number;
  } cases[] = {
      {"15.18 (Debian 15.18-1)", "15.18 (Debian 15.18-1)", 150018},
      {"15.2", "15.2", 150002},
      {"15beta1", "15beta1", 150000},
      {"15", "15", 150000},
      {"16.1", "15.0 (pgweir", 150000},
      {"", "15.0 (pgweir", 150000},
      {"devel", "15.0 (pgweir", 150000},
  };
  for (const auto& [said, version, number] : cases) {
    SCOPED_TRACE(said);
    Cluster cluster{.major = 15};
    cluster.hear_version(said);
    EXPECT_EQ(cluster.server_version().substr(0, std::string(version).size()), version);
    EXPECT_EQ(cluster.server_version_num(), number);
  }
}

}  // namespace
}  // namespace weir::relay::served_test
