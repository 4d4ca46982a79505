#include "store/send/stored_end.h"

#include <gtest/gtest.h>

namespace weir::store::stored_end_test {
namespace {

const auto kSize = *wal::SegmentSize::of(std::uint64_t{1} << 20);

wal::SegmentName segment(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return wal::SegmentName(timeline, segno, kSize);
}
UploadItem item(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, segment(segno, timeline)};
}
wal::Lsn start(std::uint64_t segno) { return kSize.start(segno); }

/// The end that is told; 0/0: none.
wal::Lsn end_of(StoredEnd& stored, const Mark& mark) {
  const auto position = stored.position(mark);
  return position ? position->end : wal::Lsn();
}

class StoredEndTest : public ::testing::Test {
 protected:
  StoredEndTest() { mark_.segment_size = kSize; }
  Mark mark_;
  StoredEnd stored_;
};

TEST_F(StoredEndTest, IsNotKnownBeforeAStreamBegins) {
  mark_.add(segment(3));
  EXPECT_FALSE(stored_.position(mark_));
  stored_.begin({1, start(4)}, {item(3)}, mark_);
  EXPECT_EQ(end_of(stored_, mark_), start(4));
  stored_.end();
  EXPECT_FALSE(stored_.position(mark_));
}

TEST_F(StoredEndTest, MovesOverWhatCountsAsSentAlone) {
  stored_.begin({1, start(4)}, {}, mark_);
  EXPECT_EQ(end_of(stored_, mark_), start(4));
  mark_.add(segment(5));
  EXPECT_EQ(end_of(stored_, mark_), start(4)) << "4 is not there yet";
  mark_.add(segment(4));
  EXPECT_EQ(end_of(stored_, mark_), start(6));
  mark_.add(segment(6, 2));
  EXPECT_EQ(end_of(stored_, mark_), start(6)) << "of another timeline";
}

TEST_F(StoredEndTest, DoesNotGoPastWhatTheArchiveHasAndTheStoreHasNot) {
  mark_.add(segment(3));
  stored_.begin({1, start(6)}, {item(2), item(3), item(4), item(5)}, mark_);
  EXPECT_EQ(end_of(stored_, mark_), start(2));
  mark_.add(segment(6));
  EXPECT_EQ(end_of(stored_, mark_), start(2));
  mark_.add(segment(2));
  EXPECT_EQ(end_of(stored_, mark_), start(4));
  stored_.gone(item(4));  // removed here before it was sent
  EXPECT_EQ(end_of(stored_, mark_), start(5));
  mark_.add(segment(5));
  EXPECT_EQ(end_of(stored_, mark_), start(7));
}

TEST_F(StoredEndTest, WaitsForTheHistory) {
  stored_.begin({2, start(4)}, {{2}, item(3)}, mark_);
  mark_.add(segment(3));
  EXPECT_FALSE(stored_.position(mark_));
  mark_.add_history(2);
  EXPECT_EQ(end_of(stored_, mark_), start(4));
}

TEST_F(StoredEndTest, LeavesOutABranchThatWasLeft) {
  mark_.add_history(2);
  stored_.begin({2, start(4)}, {{2}, item(3), item(4), item(5)}, mark_);
  mark_.add(segment(3));
  EXPECT_EQ(end_of(stored_, mark_), start(4)) << "timeline 1 behind the switch is not waited for";
}

/// The server does not have it, so what the server retains does not replace it. A conflict may keep
/// it from being sent for good.
TEST_F(StoredEndTest, WaitsForNothingOfABranchThatTheServerDidNotFollow) {
  const auto history = wal::TimelineHistory::parse(3, "1\t0/280000\tno reason\n");
  ASSERT_TRUE(history);
  const std::set<UploadItem> finished = {{2},     {3},        item(1),    item(2),
                                         item(3), item(2, 2), item(2, 3), item(3, 3)};
  stored_.begin({3, start(4)}, finished, mark_, history);
  EXPECT_FALSE(stored_.position(mark_)) << "its own history is not there";
  mark_.add_history(3);
  EXPECT_EQ(stored_.waits_for(mark_, start(4)), (std::vector{item(1), item(2, 3), item(3, 3)}));
  EXPECT_EQ(end_of(stored_, mark_), start(1));
  for (const auto& each : {segment(1), segment(2, 3), segment(3, 3)}) mark_.add(each);
  EXPECT_EQ(end_of(stored_, mark_), start(4));
  // It is unknown what the server followed.
  stored_.begin({3, start(4)}, finished, mark_);
  EXPECT_FALSE(stored_.position(mark_));
}

TEST_F(StoredEndTest, GoesIntoTheOpenSegment) {
  stored_.begin({1, start(4)}, {}, mark_);
  stored_.on_open(segment(4), start(4) + 1000);
  EXPECT_EQ(end_of(stored_, mark_), start(4) + 1000);
  stored_.on_open(segment(5), start(5) + 1000);
  EXPECT_EQ(end_of(stored_, mark_), start(4) + 1000) << "never back";
  mark_.add(segment(4));
  EXPECT_EQ(end_of(stored_, mark_), start(5) + 1000);
}

TEST_F(StoredEndTest, DoesNotGoIntoAnOpenSegmentBehindWhatIsMissing) {
  stored_.begin({1, start(4)}, {}, mark_);
  stored_.on_open(segment(5), start(5) + 1000);
  EXPECT_EQ(end_of(stored_, mark_), start(4));
}

TEST_F(StoredEndTest, NeverGoesBackAsLongAsOneStreamRuns) {
  mark_.add(segment(4));
  stored_.begin({1, start(4)}, {}, mark_);
  EXPECT_EQ(end_of(stored_, mark_), start(5));
  mark_.remove(segment(4));  // it was gone from the store, and is sent again
  EXPECT_EQ(end_of(stored_, mark_), start(5));
}

TEST_F(StoredEndTest, SaysWhatItWaitsForOfWhatIsFinished) {
  mark_.add(segment(2));
  EXPECT_TRUE(stored_.waits_for(mark_, start(9)).empty()) << "nothing streams";
  stored_.begin({1, start(4)}, {item(1), item(2), item(3)}, mark_);
  EXPECT_EQ(stored_.waits_for(mark_, start(4)), (std::vector{item(1), item(3)}));
  EXPECT_EQ(stored_.waits_for(mark_, start(6) + 1),
            (std::vector{item(1), item(3), item(4), item(5)}))
      << "not what is open";
  mark_.add(segment(5));
  mark_.add(segment(3));
  stored_.gone(item(1));
  EXPECT_EQ(stored_.waits_for(mark_, start(6) + 1), std::vector{item(4)});
  stored_.gone(item(4));
  EXPECT_EQ(end_of(stored_, mark_), start(6));
  EXPECT_TRUE(stored_.waits_for(mark_, start(6) + 1).empty());
}

TEST_F(StoredEndTest, GoesPastWhatWasRemovedHereBeforeItWasSent) {
  stored_.begin({1, start(4)}, {}, mark_);
  stored_.gone(item(4));
  mark_.add(segment(5));
  EXPECT_EQ(end_of(stored_, mark_), start(6));
}

}  // namespace
}  // namespace weir::store::stored_end_test
