#include "store/send/upload_plan.h"

#include <gtest/gtest.h>

#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::store::upload_plan_test {
namespace {

const wal::SegmentSize kSize;

UploadItem item(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, wal::SegmentName(timeline, segno, kSize)};
}
UploadItem history(wal::TimelineId timeline) { return {timeline, std::nullopt}; }

archive::Listing listing_of(const std::vector<UploadItem>& items) {
  archive::Listing listing;
  for (const auto& each : items) {
    if (each.segment)
      listing.segments.push_back({.name = {*each.segment}});
    else
      listing.histories.push_back({each.timeline});
  }
  return listing;
}
Mark empty() { return {"s3://wal", 1, kSize, {}, {}}; }
using Items = std::vector<UploadItem>;

Items begin_all(UploadPlan& plan, std::size_t window) {
  Items begun;
  while (const auto next = plan.next(window)) begun.push_back(*next);
  return begun;
}

TEST(UploadPlan, BeginsInOrderAndNoMoreThanTheWindow) {
  UploadPlan plan(empty());
  plan.offer(listing_of({item(5), item(6), item(7)}));
  EXPECT_EQ(begin_all(plan, 2), (Items{item(5), item(6)}));
  EXPECT_EQ(plan.waiting(), 1u);
  EXPECT_TRUE(plan.stored(item(5)));
  EXPECT_EQ(begin_all(plan, 2), (Items{item(7)}));
}

TEST(UploadPlan, MovesTheMarkOverAnUnbrokenFrontOnly) {
  UploadPlan plan(empty());
  plan.offer(listing_of({item(5), item(6), item(7)}));
  begin_all(plan, 3);
  EXPECT_FALSE(plan.stored(item(7)));
  EXPECT_FALSE(plan.stored(item(6)));
  EXPECT_TRUE(plan.mark().sent.empty());
  EXPECT_EQ(plan.pending().size(), 3u);
  EXPECT_TRUE(plan.stored(item(5)));
  EXPECT_EQ(plan.mark().sent, (std::vector<Mark::Run>{{*item(5).segment, *item(7).segment}}));
  EXPECT_TRUE(plan.pending().empty());
}

TEST(UploadPlan, SendsAHistoryBeforeItsTimeline) {
  UploadPlan plan(empty());
  plan.offer(listing_of({item(5), item(6, 2), history(2)}));
  EXPECT_EQ(begin_all(plan, 9), (Items{item(5), history(2)}));
  EXPECT_TRUE(plan.stored(history(2)));
  EXPECT_EQ(plan.mark().histories, (std::vector<wal::TimelineId>{2}));
  EXPECT_EQ(begin_all(plan, 9), (Items{item(6, 2)}));
}

/// Alone, it would make a recovery to the newest timeline follow it, and leave out WAL of
/// timeline 1.
TEST(UploadPlan, SendsTheHistoryOfASkippedTimelineAfterThoseThatDidNotFollowIt) {
  sim::SimDisk disk;
  disk.put(wal::history_name(2), test::bytes_of("1\t0/5000000\tno reason\n"));
  disk.put(wal::history_name(3), test::bytes_of("1\t0/6000000\tno reason\n"));
  disk.put(wal::history_name(4),
           test::bytes_of("1\t0/6000000\tno reason\n3\t0/8000000\tno reason\n"));
  const auto directory = disk.open();
  const auto timelines =
      archive::Timelines::read(*directory, archive::list_archive_names(*directory));
  for (const bool conflict : {false, true}) {
    SCOPED_TRACE(conflict);
    UploadPlan plan(empty());
    plan.order_histories(timelines);
    plan.offer(listing_of({item(5), item(6, 2), item(7, 3), history(2), history(3), history(4)}));
    EXPECT_EQ(begin_all(plan, 9), (Items{item(5), history(3), history(4)}));
    plan.stored(history(3));
    EXPECT_EQ(begin_all(plan, 9), (Items{item(7, 3)})) << "4 did not follow 2, either";
    if (conflict)
      plan.stuck(history(4));
    else
      plan.stored(history(4));
    EXPECT_EQ(begin_all(plan, 9), (Items{history(2)}));
    plan.stored(history(2));
    EXPECT_EQ(begin_all(plan, 9), (Items{item(6, 2)}));
  }
}

TEST(UploadPlan, OffersNothingTwice) {
  auto mark = empty();
  mark.add(*item(5).segment);
  mark.add_history(2);
  UploadPlan plan(mark);
  auto listing = listing_of({item(5), item(6), item(6), history(2)});
  listing.segments.push_back({.name = {.segment = *item(7).segment, .partial = true}});
  plan.offer(listing);
  plan.offer(listing);
  EXPECT_EQ(begin_all(plan, 9), (Items{item(6)}));
}

TEST(UploadPlan, SendsWhatWasImportedIntoAHole) {
  auto mark = empty();
  for (const std::uint64_t segno : {5, 9}) mark.add(*item(segno).segment);
  UploadPlan plan(mark);
  plan.offer(listing_of({item(5), item(9), item(10)}));
  plan.offer(listing_of({item(5), item(7), item(9), item(10)}));
  EXPECT_EQ(begin_all(plan, 9), (Items{item(7), item(10)}));
  plan.stored(item(10));
  EXPECT_TRUE(plan.stored(item(7)));
  EXPECT_EQ(plan.mark().sent.size(), 3u);
}

TEST(UploadPlan, StopsATimelineWhereAFileCannotBeSent) {
  UploadPlan plan(empty());
  plan.offer(listing_of({item(5), item(6), item(7), item(8, 2)}));
  EXPECT_EQ(begin_all(plan, 2), (Items{item(5), item(6)}));
  plan.stuck(item(5));
  EXPECT_FALSE(plan.stored(item(6)));
  EXPECT_EQ(begin_all(plan, 9), (Items{item(8, 2)}));
  EXPECT_TRUE(plan.stored(item(8, 2)));
  EXPECT_EQ(plan.mark().sent, (std::vector<Mark::Run>{{*item(8, 2).segment, *item(8, 2).segment}}));
  EXPECT_EQ(plan.waiting(), 0u);
  EXPECT_EQ(plan.pending().size(), 3u);
}

TEST(UploadPlan, NeverCountsWhatIsGoneAsSent) {
  UploadPlan plan(empty());
  plan.offer(listing_of({item(5), item(6)}));
  begin_all(plan, 9);
  EXPECT_FALSE(plan.stored(item(6)));
  EXPECT_TRUE(plan.gone(item(5)));
  EXPECT_FALSE(plan.mark().has(*item(5).segment));
  EXPECT_TRUE(plan.mark().has(*item(6).segment));
}

TEST(UploadPlan, BeginsAgainWhatFailed) {
  UploadPlan plan(empty());
  plan.offer(listing_of({item(5), item(6)}));
  EXPECT_EQ(begin_all(plan, 1), (Items{item(5)}));
  plan.again(item(5));
  EXPECT_EQ(begin_all(plan, 1), (Items{item(5)}));
}

}  // namespace
}  // namespace weir::store::upload_plan_test
