#include "archive/timelines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::archive::timelines_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wal::Lsn;
using wal::SegmentName;
using wal::TimelineHistory;
using wal::TimelineId;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

/// A directory of empty segment files and histories: names are all that counts here.
class Archive {
 public:
  Archive& segments(TimelineId timeline, std::uint64_t from, std::uint64_t to,
                    const std::string& suffix = "") {
    for (auto segno = from; segno <= to; ++segno)
      disk_.put(SegmentName(timeline, segno, kSize).to_string() + suffix, {});
    return *this;
  }
  Archive& history(TimelineId timeline, std::string_view content) {
    disk_.put(wal::history_name(timeline), test::as_bytes(content));
    return *this;
  }
  Archive& file(const std::string& name, std::string_view content) {
    disk_.put(name, test::as_bytes(content));
    return *this;
  }
  Timelines timelines() {
    const auto directory = disk_.open();
    return Timelines::read(*directory, list_archive(*directory));
  }
  std::vector<Coverage> coverage() {
    const auto directory = disk_.open();
    const auto listing = list_archive(*directory);
    return archive::coverage(listing, Timelines::read(*directory, listing), kSize);
  }

 private:
  sim::SimDisk disk_;
};

Coverage::Range range(std::uint64_t first, std::uint64_t behind) {
  return {kSize.start(first), kSize.start(behind)};
}

TEST(Timelines, KnowNoAncestorsWithoutAHistoryFile) {
  Archive archive;
  const auto timelines = archive.segments(3, 1, 2).timelines();
  EXPECT_EQ(timelines.history(3), TimelineHistory(3));
  EXPECT_THAT(timelines.known(), IsEmpty());
  EXPECT_THAT(timelines.complaints(), IsEmpty());
}

TEST(Timelines, ReadEveryHistoryFile) {
  Archive archive;
  archive.history(2, "1\t0/300000\tno recovery target specified\n");
  archive.history(3, "1\t0/300000\tx\n\n2\t0/500000\ty\n");
  const auto timelines = archive.timelines();
  EXPECT_THAT(timelines.known(), ElementsAre(2, 3));
  ASSERT_TRUE(timelines.history(3));
  EXPECT_THAT(timelines.history(3)->ancestors(),
              ElementsAre(TimelineHistory::Ancestor{1, Lsn(0x300000)},
                          TimelineHistory::Ancestor{2, Lsn(0x500000)}));
  EXPECT_THAT(timelines.descendants(1), ElementsAre(2, 3));
  EXPECT_THAT(timelines.descendants(2), ElementsAre(3));
  EXPECT_THAT(timelines.descendants(3), IsEmpty());
}

TEST(Timelines, KeepABrokenHistoryAsAComplaintThatHidesNoOther) {
  const struct {
    const char* name;
    const char* content;
  } cases[] = {
      {"empty", ""},
      {"only a comment", "# nothing\n"},
      {"no switchpoint", "1\n"},
      {"not a number", "one\t0/300000\tx\n"},
      {"its own timeline", "2\t0/300000\tx\n"},
      {"a later timeline", "7\t0/300000\tx\n"},
      {"binary", "\x01\x02\x03"},
  };
  for (const auto& [name, content] : cases) {
    SCOPED_TRACE(name);
    Archive archive;
    archive.history(2, content).history(3, "1\t0/300000\tx\n");
    const auto timelines = archive.timelines();
    ASSERT_THAT(timelines.complaints(), SizeIs(1));
    EXPECT_EQ(timelines.complaints()[0].timeline, 2u);
    EXPECT_EQ(timelines.complaints()[0].file, "00000002.history");
    EXPECT_EQ(timelines.complaints()[0].kind, ErrorKind::damage);
    EXPECT_EQ(timelines.history(2), std::nullopt);
    EXPECT_TRUE(timelines.history(3));
    EXPECT_THAT(timelines.known(), ElementsAre(2, 3));
  }
}

TEST(Timelines, TakeASegmentFromTheNewestTimelineThatBeginsInIt) {
  const auto history = *TimelineHistory::parse(4, "1 0/380000 x\n2 0/3C0000 y\n3 0/600000 z\n");
  const struct {
    std::uint64_t segno;
    TimelineId timeline;
  } cases[] = {{0, 1}, {2, 1}, {3, 3}, {4, 3}, {5, 3}, {6, 4}, {7, 4}};
  for (const auto& [segno, timeline] : cases) {
    SCOPED_TRACE(segno);
    EXPECT_EQ(timeline_of_segment(history, segno, kSize), timeline);
  }
}

TEST(Coverage, OfNothingIsEmpty) {
  Archive archive;
  EXPECT_THAT(archive.coverage(), IsEmpty());
}

TEST(Coverage, JoinsRowsAndShowsHoles) {
  Archive archive;
  archive.segments(1, 3, 5).segments(1, 5, 6, ".zst").segments(1, 9, 9, ".gz");
  archive.segments(1, 10, 10, ".partial");
  const auto all = archive.coverage();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].timeline, 1u);
  EXPECT_THAT(all[0].ranges, ElementsAre(range(3, 7), range(9, 10)));
}

TEST(Coverage, FollowsAHistoryOverItsSwitchpoints) {
  Archive archive;
  archive.segments(1, 1, 4).segments(1, 5, 5, ".partial").segments(2, 5, 7).segments(3, 8, 9);
  archive.history(2, "1\t0/580000\tx\n").history(3, "1\t0/580000\tx\n2\t0/800000\ty\n");
  const auto all = archive.coverage();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].timeline, 3u);
  EXPECT_THAT(all[0].ranges, ElementsAre(range(1, 10)));
}

TEST(Coverage, DoesNotTakeTheOldTimelinesFileForTheSegmentOfTheSwitch) {
  // Behind the switchpoint the old timeline's file holds what never happened on the new one.
  Archive archive;
  archive.segments(1, 1, 6).segments(2, 6, 7).history(2, "1\t0/580000\tx\n");
  const auto all = archive.coverage();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_THAT(all[0].ranges, ElementsAre(range(1, 5), range(6, 8)));
}

TEST(Coverage, HasOneEntryForEachBranch) {
  Archive archive;
  archive.segments(1, 1, 6).segments(2, 4, 7).segments(3, 5, 6);
  archive.history(2, "1\t0/480000\tx\n").history(3, "1\t0/580000\tx\n");
  const auto all = archive.coverage();
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].timeline, 2u);
  EXPECT_THAT(all[0].ranges, ElementsAre(range(1, 8)));
  EXPECT_EQ(all[1].timeline, 3u);
  EXPECT_THAT(all[1].ranges, ElementsAre(range(1, 7)));
}

TEST(Coverage, ListsATimelineOfWhichOnlyAPartialIsThere) {
  Archive archive;
  archive.segments(1, 1, 4).segments(2, 5, 5, ".partial").history(2, "1\t0/580000\tx\n");
  const auto all = archive.coverage();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].timeline, 2u);
  EXPECT_THAT(all[0].ranges, ElementsAre(range(1, 5)));
}

TEST(Coverage, OfATimelineWithABrokenHistoryIsItsOwnSegments) {
  Archive archive;
  archive.segments(1, 1, 4).segments(2, 5, 6).history(2, "rubbish\n");
  const auto all = archive.coverage();
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_THAT(all[1].ranges, ElementsAre(range(5, 7)));
}

TEST(Coverage, IgnoresNamesThatTheSegmentSizeDoesNotKnow) {
  Archive archive;
  archive.segments(1, 1, 2).file("0000000100000000FFFFFFFF", "");
  const auto all = archive.coverage();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_THAT(all[0].ranges, ElementsAre(range(1, 3)));
}

}  // namespace
}  // namespace weir::archive::timelines_test
