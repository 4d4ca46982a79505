#include "status/only_stored.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "status/text.h"
#include "support/sim_disk.h"

namespace weir::status::only_stored_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Ranges = std::vector<SegnoRange>;

const wal::SegmentSize kSize;
wal::Lsn at(std::uint64_t segno) { return kSize.start(segno); }

TEST(OnlyStored, IsWhatIsThereAndNotHere) {
  EXPECT_EQ(without({{1, 9}}, {}), (Ranges{{1, 9}}));
  EXPECT_EQ(without({{1, 9}}, {{1, 9}}), Ranges{});
  EXPECT_EQ(without({{1, 9}}, {{0, 1}, {9, 12}}), (Ranges{{1, 9}}));
  EXPECT_EQ(without({{1, 9}}, {{4, 20}}), (Ranges{{1, 4}}));
  EXPECT_EQ(without({{1, 9}}, {{0, 4}}), (Ranges{{4, 9}}));
  EXPECT_EQ(without({{1, 9}, {12, 15}}, {{2, 3}, {5, 6}, {8, 13}}),
            (Ranges{{1, 2}, {3, 5}, {6, 8}, {13, 15}}));
}

/// Timeline 2 left timeline 1 in segment 6; the directory has 8 and 9 of it.
StatusReport report() {
  StatusReport report;
  report.directory = "/a";
  report.segment_size = kSize;
  report.identity = archive::Identity{42, kSize, "x"};
  StatusReport::Timeline two;
  two.timeline = 2;
  two.from = at(8);
  two.to = at(10);
  two.segments = 2;
  two.finished = {{8, 10}};
  report.timelines = {two};
  report.windows = {{.timeline = 2, .from = at(8), .to = at(10)}};
  return report;
}
const Rows kHere = {{2, {{8, 10}}}};

TEST(OnlyStored, IsToldApartInWordsAndInThePicture) {
  auto some = report();
  describe_only_stored(some, {{1, {{2, 6}}}, {2, {{6, 10}}}}, kHere);
  ASSERT_EQ(some.timelines.size(), 2U);
  EXPECT_EQ(some.timelines[0].timeline, 1U);
  EXPECT_EQ(some.timelines[0].only_stored, (Ranges{{2, 6}}));
  EXPECT_EQ(some.timelines[1].only_stored, (Ranges{{6, 8}}));
  const auto text = status_text(some);
  EXPECT_THAT(text, HasSubstr("timeline 1: no finished segment here\n    only in the object store: "
                              "0/2000000 to 0/6000000, 4 segments\n"));
  EXPECT_THAT(picture(some, 30, false), HasSubstr("  1 |ssssssssssss............|\n"
                                                  "  2 |............ssssss######|\n"));
  EXPECT_THAT(picture(some, 30, false), HasSubstr("s in the object store alone\n"));
  EXPECT_THAT(status_json(some), HasSubstr("\"only_stored\""));
}

TEST(OnlyStored, LeadsFurtherBackWhereItReachesTheWindow) {
  // Timelines without a history file have no known ancestors.
  auto some = report();
  describe_only_stored(some, {{2, {{3, 10}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, at(3));
  EXPECT_THAT(status_text(some), HasSubstr("with \"pgweir restore --store\" one that began at "
                                           "0/3000000 or later"));
  some = report();
  describe_only_stored(some, {{2, {{3, 7}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, std::nullopt) << "7 is nowhere";
  some = report();
  describe_only_stored(some, {{1, {{3, 8}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, std::nullopt) << "of a timeline that does not lead here";
}

/// The mark still has what the store lost; and no recovery passes WAL with wal_level=minimal.
TEST(OnlyStored, LeadsBackToTheEndOfALossOnly) {
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 2;
  loss.segment_size = kSize;
  loss.begin = at(4);
  loss.end = at(5);
  auto some = report();
  some.recorded = {loss};
  describe_only_stored(some, {{2, {{3, 10}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, at(5));
  EXPECT_EQ(some.timelines[0].only_stored, (Ranges{{3, 4}, {5, 8}}));
  some = report();
  loss.end = at(8);
  some.recorded = {loss};
  describe_only_stored(some, {{2, {{3, 10}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, std::nullopt);

  loss.kind = archive::Loss::Kind::minimal_wal;
  loss.begin = at(4) + 100;
  loss.end = at(5) + 200;
  some = report();
  some.recorded = {loss};
  describe_only_stored(some, {{2, {{3, 10}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, at(5) + 200);
  loss.goes_on = true;
  some = report();
  some.recorded = {loss};
  describe_only_stored(some, {{2, {{3, 10}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, std::nullopt);
  loss.timeline = 1;
  some = report();
  some.recorded = {loss};
  describe_only_stored(some, {{2, {{3, 10}}}}, kHere);
  EXPECT_EQ(some.windows[0].stored_from, at(3)) << "of another branch";
}

TEST(OnlyStored, DoesNotChangeWhatIsHereOrAHole) {
  auto some = report();
  some.timelines[0].missing = {{7, 8}};
  describe_only_stored(some, {{2, {{7, 10}}}}, kHere);
  EXPECT_EQ(some.timelines[0].only_stored, (Ranges{{7, 8}}));
  EXPECT_THAT(picture(some, 30, false), HasSubstr("|xxxx########|"));
  some = report();
  describe_only_stored(some, {{2, {{8, 10}}}}, kHere);
  EXPECT_THAT(some.timelines[0].only_stored, IsEmpty());
  EXPECT_THAT(picture(some, 30, false), Not(HasSubstr("store")));
}

TEST(OnlyStored, IsKnownByTheMarkOfThisClusterAlone) {
  sim::SimDisk disk;
  const auto directory = disk.open();
  archive::DirectoryHome home(*directory);
  store::Mark mark{.store = "x", .system_identifier = 42, .segment_size = kSize};
  for (const std::uint64_t segno : {2, 3, 4, 8}) mark.add({2, segno, kSize});
  store::keep_mark(home, mark);
  auto some = report();
  add_mark(some, *directory);
  EXPECT_THAT(some.timelines[0].only_stored, ElementsAre(SegnoRange{2, 5}));
  mark.system_identifier = 43;
  store::keep_mark(home, mark);
  some = report();
  add_mark(some, *directory);
  EXPECT_THAT(some.timelines[0].only_stored, IsEmpty());
}

}  // namespace
}  // namespace weir::status::only_stored_test
