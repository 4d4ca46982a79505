#include "wal/timeline_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::wal::timeline_history_test {
namespace {

using ::testing::ElementsAre;
using Ancestor = TimelineHistory::Ancestor;
using Ancestors = std::vector<Ancestor>;

TEST(TimelineHistory, ReadsWhatServersWrite) {
  const struct {
    const char* name;
    TimelineId timeline;
    std::string content;
    Ancestors expected;
  } cases[] = {
      {"one ancestor", 2, "1\t0/5000000\tno recovery target specified\n", {{1, Lsn(0x5000000)}}},
      {"two, with an empty line between as servers leave it",
       3,
       "1\t0/5000000\tno recovery target specified\n\n2\t0/7000060\tbefore 2026-01-01\n",
       {{1, Lsn(0x5000000)}, {2, Lsn(0x7000060)}}},
      {"timelines left out",
       9,
       "1\t0/1000000\tx\n7\t1/0\tx\n",
       {{1, Lsn(0x1000000)}, {7, Lsn(0x100000000)}}},
      {"decimal, not hex", 11, "10\t0/1000000\tx\n", {{10, Lsn(0x1000000)}}},
      {"no reason", 2, "1\t0/1000000\n", {{1, Lsn(0x1000000)}}},
      {"no newline at the end", 2, "1\t0/1000000\tx", {{1, Lsn(0x1000000)}}},
      {"no reason, no newline", 2, "1\t0/1000000", {{1, Lsn(0x1000000)}}},
      {"CRLF",
       3,
       "1\t0/1000000\tx\r\n2\t0/2000000\r\n",
       {{1, Lsn(0x1000000)}, {2, Lsn(0x2000000)}}},
      {"blanks for tabs", 2, "  1   0/1000000   x y z  \n", {{1, Lsn(0x1000000)}}},
      {"comments",
       2,
       "# first\n   # indented\n1\t0/1000000\t# not one\n#2\t0/0\n#",
       {{1, Lsn(0x1000000)}}},
      {"empty lines", 2, "\n\n \t\r\n1\t0/1000000\tx\n\n\n", {{1, Lsn(0x1000000)}}},
      {"padded as by PostgreSQL 19", 2, "1\t0/01000000\tx\n", {{1, Lsn(0x1000000)}}},
      {"same switchpoint twice",
       3,
       "1\t0/1000000\tx\n2\t0/1000000\tx\n",
       {{1, Lsn(0x1000000)}, {2, Lsn(0x1000000)}}},
      {"a target before the newest timeline",
       4,
       "1\t0/1000000\tx\n2\t0/5000000\tx\n3\t0/3000000\tafter LSN 0/2FFFF00\n",
       {{1, Lsn(0x1000000)}, {2, Lsn(0x3000000)}}},
      {"and before two of them, with a timeline after it",
       6,
       "1\t0/4000000\tx\n2\t0/5000000\tx\n3\t0/3000000\tx\n5\t0/6000000\tx\n",
       {{1, Lsn(0x3000000)}, {5, Lsn(0x6000000)}}},
      {"just where the timeline above begins",
       4,
       "1\t0/1000000\tx\n2\t0/5000000\tx\n3\t0/1000000\tx\n",
       {{1, Lsn(0x1000000)}}},
      {"reason with odd bytes",
       2,
       "1\t0/1000000\tat restore point \"\xC3\xA4#\\t\x01\"\n",
       {{1, Lsn(0x1000000)}}},
      {"largest timelines",
       4294967295,
       "4294967294\tFFFFFFFF/FFFFFFFF\tx\n",
       {{4294967294, Lsn(~std::uint64_t{0})}}},
      {"reason of a megabyte",
       2,
       "1\t0/1000000\t" + std::string(1 << 20, 'x') + "\n",
       {{1, Lsn(0x1000000)}}},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const auto history = TimelineHistory::parse(test.timeline, test.content);
    ASSERT_TRUE(history);
    EXPECT_EQ(history->timeline(), test.timeline);
    EXPECT_EQ(history->ancestors(), test.expected);
  }
}

TEST(TimelineHistory, RefusesWhatIsNone) {
  const struct {
    const char* name;
    TimelineId timeline;
    std::string content;
  } cases[] = {
      {"empty", 2, ""},
      {"no ancestor", 2, "# only a comment\n\n"},
      {"only zeros", 2, std::string(100, '\0')},
      {"zeros behind the content", 2, std::string("1\t0/1000000\tx\n") + std::string(8, '\0')},
      {"timeline alone", 2, "1\n"},
      {"timeline is no number", 2, "one\t0/1000000\tx\n"},
      {"timeline 0", 2, "0\t0/1000000\tx\n"},
      {"negative timeline", 2, "-1\t0/1000000\tx\n"},
      {"number with a tail", 2, "1x\t0/1000000\tx\n"},
      {"timeline over 32 bits", 2, "4294967297\t0/1000000\tx\n"},
      {"position without slash", 2, "1\t1000000\tx\n"},
      {"position is a reason", 2, "1\tno recovery target specified\n"},
      {"position 0/0", 2, "1\t0/0\tx\n"},
      {"second line cut off", 3, "1\t0/1000000\tx\n2\t0/"},
      {"timelines descend", 4, "2\t0/1000000\tx\n1\t0/2000000\tx\n"},
      {"timeline twice", 4, "2\t0/1000000\tx\n2\t0/2000000\tx\n"},
      {"the timeline itself", 2, "1\t0/1000000\tx\n2\t0/2000000\tx\n"},
      {"a later one", 2, "3\t0/1000000\tx\n"},
      {"another file", 2, "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"},
      {"timeline 1 has no ancestors", 1, "1\t0/1000000\tx\n"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(TimelineHistory::parse(test.timeline, test.content), std::nullopt);
  }
}

TEST(TimelineHistory, ReadsAHundredThousandLines) {
  std::string content;
  for (TimelineId timeline = 1; timeline <= 100'000; ++timeline)
    content += fmt::format("{}\t{}\tno recovery target specified\n", timeline,
                           Lsn(std::uint64_t{timeline} << 20));
  const auto history = TimelineHistory::parse(100'001, content);
  ASSERT_TRUE(history);
  EXPECT_EQ(history->ancestors().size(), 100'000u);
  EXPECT_EQ(history->end_of(77'777), Lsn(std::uint64_t{77'777} << 20));
}

/// A walsender goes by the timeline's own line.
TEST(TimelineHistory, KnowsOfWhichAncestorAServerWouldSendMore) {
  const auto history =
      *TimelineHistory::parse(4, "1\t0/1000000\tx\n2\t0/3000000\tx\n3\t0/2000000\tx\n");
  EXPECT_EQ(history.end_of(2), Lsn(0x2000000));
  EXPECT_TRUE(history.is_cut(2));
  for (const TimelineId other : {1, 3, 4}) EXPECT_FALSE(history.is_cut(other)) << other;
}

TEST(TimelineHistory, KnowsWhereEachTimelineBeginsAndEnds) {
  const auto history = *TimelineHistory::parse(7, "1\t0/1000000\tx\n3\t0/2000000\tx\n");
  const struct {
    TimelineId timeline;
    bool contained;
    std::optional<Lsn> begin, end;
    std::optional<TimelineId> successor;
  } cases[] = {
      {0, false, std::nullopt, std::nullopt, std::nullopt},
      {1, true, Lsn(), Lsn(0x1000000), 3},
      {2, false, std::nullopt, std::nullopt, std::nullopt},
      {3, true, Lsn(0x1000000), Lsn(0x2000000), 7},
      {6, false, std::nullopt, std::nullopt, std::nullopt},
      {7, true, Lsn(0x2000000), std::nullopt, std::nullopt},
      {8, false, std::nullopt, std::nullopt, std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.timeline);
    EXPECT_EQ(history.contains(test.timeline), test.contained);
    EXPECT_EQ(history.begin_of(test.timeline), test.begin);
    EXPECT_EQ(history.end_of(test.timeline), test.end);
    EXPECT_EQ(history.successor_of(test.timeline), test.successor);
  }
}

TEST(TimelineHistory, GivesTheSwitchpointToTheNewTimeline) {
  const auto history =
      *TimelineHistory::parse(7, "1\t0/1000000\tx\n3\t0/2000000\tx\n5\t0/2000000\tx\n");
  const struct {
    Lsn lsn;
    TimelineId expected;
  } cases[] = {
      {Lsn(0), 1},         {Lsn(0xFFFFFF), 1},  {Lsn(0x1000000), 3},
      {Lsn(0x1FFFFFF), 3}, {Lsn(0x2000000), 7}, {Lsn(~std::uint64_t{0}), 7},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.lsn.to_string());
    EXPECT_EQ(history.timeline_of(test.lsn), test.expected);
  }
}

TEST(TimelineHistory, HasThatOfItsParentInIt) {
  const auto history = TimelineHistory::parse(5, "1\t0/100\tx\n3\t0/200\tx\n");
  ASSERT_TRUE(history);
  const auto parent = history->of_parent();
  EXPECT_EQ(parent, TimelineHistory::parse(3, "1\t0/100\tx\n"));
  EXPECT_EQ(parent.of_parent(), TimelineHistory(1));
}

TEST(TimelineHistory, OfANewClusterHasNoAncestors) {
  const TimelineHistory history(1);
  EXPECT_TRUE(history.ancestors().empty());
  EXPECT_TRUE(history.contains(1));
  EXPECT_EQ(history.begin_of(1), Lsn());
  EXPECT_EQ(history.end_of(1), std::nullopt);
  EXPECT_EQ(history.timeline_of(Lsn(0x5000000)), 1u);
  EXPECT_EQ(history.successor_of(1), std::nullopt);
}

}  // namespace
}  // namespace weir::wal::timeline_history_test
