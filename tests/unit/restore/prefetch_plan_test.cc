#include "restore/prefetch_plan.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "support/wal_builder.h"

namespace weir::restore::prefetch_plan_test {
namespace {

using Answer = PrefetchPlan::Answer;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

wal::SegmentName name(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, segno, kSize};
}

/// Fetches as long as there is room; returns how many.
std::size_t fetch_all(PrefetchPlan& plan) {
  std::size_t count = 0;
  while (const auto segment = plan.begin_fetch()) {
    plan.fetched(*segment);
    ++count;
  }
  return count;
}

TEST(PrefetchPlan, FetchesTheNextFewInOrderAndNoMore) {
  PrefetchPlan plan(3, kSize);
  EXPECT_EQ(plan.begin_fetch(), std::nullopt) << "nobody has asked for anything";
  EXPECT_EQ(plan.asked(name(7)), Answer::miss);
  for (const std::uint64_t expected : {8, 9, 10}) {
    EXPECT_EQ(plan.begin_fetch(), name(expected));
    EXPECT_EQ(plan.begin_fetch(), std::nullopt) << "one at a time";
    plan.fetched(name(expected));
  }
  EXPECT_EQ(plan.begin_fetch(), std::nullopt);
}

TEST(PrefetchPlan, HandsOverAndGoesOn) {
  PrefetchPlan plan(2, kSize);
  static_cast<void>(plan.asked(name(1)));
  EXPECT_EQ(fetch_all(plan), 2u);
  for (std::uint64_t segno = 2; segno < 20; ++segno) {
    EXPECT_EQ(plan.asked(name(segno)), Answer::here);
    plan.handed_over(name(segno));
    EXPECT_FALSE(plan.wanted(name(segno)));
    EXPECT_EQ(fetch_all(plan), 1u);
  }
}

TEST(PrefetchPlan, LetsRecoveryWaitForWhatIsUnderWay) {
  PrefetchPlan plan(2, kSize);
  static_cast<void>(plan.asked(name(1)));
  EXPECT_EQ(plan.begin_fetch(), name(2));
  EXPECT_EQ(plan.asked(name(2)), Answer::wait);
  plan.fetched(name(2));
  EXPECT_EQ(plan.begin_sync(), name(2));
  EXPECT_EQ(plan.asked(name(2)), Answer::wait) << "never handed over while it is synced";
  plan.synced(name(2));
  EXPECT_EQ(plan.asked(name(2)), Answer::here);
  EXPECT_EQ(plan.begin_sync(), std::nullopt) << "once is enough";
}

TEST(PrefetchPlan, NeverSyncsWhatWasHandedOver) {
  PrefetchPlan plan(2, kSize);
  static_cast<void>(plan.asked(name(1)));
  fetch_all(plan);
  EXPECT_EQ(plan.asked(name(2)), Answer::here);
  plan.handed_over(name(2));
  EXPECT_EQ(plan.begin_sync(), name(3));
}

TEST(PrefetchPlan, DropsEverythingIfRecoveryGoesElsewhere) {
  struct Case {
    const char* what;
    wal::SegmentName asked;
    wal::SegmentName next;
  };
  const Case cases[] = {
      {"ahead", name(50), name(51)},
      {"back", name(1), name(2)},
      {"another timeline", name(12, 2), name(13, 2)},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.what);
    PrefetchPlan plan(3, kSize);
    static_cast<void>(plan.asked(name(10)));
    plan.fetched(*plan.begin_fetch());
    const auto under_way = *plan.begin_fetch();
    EXPECT_EQ(plan.asked(each.asked), Answer::miss);
    EXPECT_FALSE(plan.wanted(name(11)));
    EXPECT_FALSE(plan.wanted(under_way));
    plan.fetched(under_way);  // too late
    EXPECT_EQ(plan.asked(under_way), Answer::miss);
    EXPECT_EQ(plan.asked(each.asked), Answer::miss);
    EXPECT_EQ(plan.begin_fetch(), each.next);
  }
}

TEST(PrefetchPlan, KeepsWhatItHasIfTheSameIsAskedAgain) {
  PrefetchPlan plan(2, kSize);
  static_cast<void>(plan.asked(name(1)));
  fetch_all(plan);
  EXPECT_EQ(plan.asked(name(1)), Answer::miss);
  EXPECT_EQ(plan.asked(name(2)), Answer::here);
  plan.handed_over(name(2));
  EXPECT_EQ(plan.asked(name(2)), Answer::miss);
  EXPECT_EQ(plan.asked(name(3)), Answer::here);
}

TEST(PrefetchPlan, SkipsWhatRecoveryHasGotOtherwise) {
  PrefetchPlan plan(4, kSize);
  static_cast<void>(plan.asked(name(1)));
  fetch_all(plan);
  EXPECT_EQ(plan.asked(name(4)), Answer::here);
  EXPECT_FALSE(plan.wanted(name(2)));
  EXPECT_FALSE(plan.wanted(name(3)));
}

TEST(PrefetchPlan, StopsBehindAFailureUntilItIsAskedAgain) {
  PrefetchPlan plan(4, kSize);
  static_cast<void>(plan.asked(name(1)));
  plan.fetched(*plan.begin_fetch());
  plan.failed(*plan.begin_fetch());  // 3
  EXPECT_EQ(plan.begin_fetch(), std::nullopt);
  EXPECT_FALSE(plan.empty_handed());
  EXPECT_EQ(plan.asked(name(2)), Answer::here);
  plan.handed_over(name(2));
  EXPECT_TRUE(plan.empty_handed());
  EXPECT_EQ(plan.asked(name(3)), Answer::miss) << "the direct way tells what is the matter";
  EXPECT_FALSE(plan.empty_handed());
  EXPECT_EQ(plan.begin_fetch(), name(4)) << "it was restored after all";

  // A standby at the end of the archive asks for the same again and again.
  plan.failed(name(4));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(plan.asked(name(3)), Answer::miss);
    EXPECT_EQ(plan.begin_fetch(), name(4));
    plan.failed(name(4));
  }
}

TEST(PrefetchPlan, DropsWhatIsBehindASyncThatFailed) {
  PrefetchPlan plan(3, kSize);
  static_cast<void>(plan.asked(name(1)));
  fetch_all(plan);
  EXPECT_EQ(plan.begin_sync(), name(2));
  plan.failed(name(2));
  EXPECT_FALSE(plan.wanted(name(3)));
  EXPECT_EQ(plan.asked(name(2)), Answer::miss);
  EXPECT_EQ(plan.begin_fetch(), name(3));
}

TEST(PrefetchPlan, CrossesTheBordersOfSegmentNamesAndStopsAtTheLastOne) {
  const auto large = *wal::SegmentSize::of(std::uint64_t{1} << 30);
  PrefetchPlan plan(2, large);
  static_cast<void>(plan.asked(wal::SegmentName(1, 3, large)));
  EXPECT_EQ(plan.begin_fetch()->to_string(), "000000010000000100000000");
  const wal::SegmentName last(1, (std::uint64_t{1} << 34) - 1, large);
  EXPECT_EQ(plan.asked(last), Answer::miss);
  EXPECT_EQ(plan.begin_fetch(), std::nullopt);
  EXPECT_TRUE(plan.empty_handed());
}

TEST(PrefetchPlan, IsBoundedAndOrderedWhateverHappens) {
  const auto seed = weir::testing::test_seed(20261120);
  std::mt19937_64 random(seed);
  for (int story = 0; story < 200; ++story) {
    const auto most = random() % 5 + 1;
    PrefetchPlan plan(most, kSize);
    std::optional<wal::SegmentName> fetching;
    std::optional<wal::SegmentName> syncing;
    std::set<wal::SegmentName> whole;  // fetched to their ends, and wanted ever since
    std::uint64_t at = 100;
    for (int step = 0; step < 200; ++step) {
      switch (random() % 6) {
        case 0: {
          at = random() % 10 == 0 ? random() % 200 : at + random() % 2;
          const auto answer = plan.asked(name(at));
          if (answer == Answer::here) {
            ASSERT_TRUE(whole.contains(name(at)));
            ASSERT_NE(syncing, name(at));
            plan.handed_over(name(at));
          }
          break;
        }
        case 1:
          if (!fetching) fetching = plan.begin_fetch();
          break;
        case 2:
          if (fetching) {
            if (plan.wanted(*fetching)) whole.insert(*fetching);
            plan.fetched(*fetching);
            fetching.reset();
          }
          break;
        case 3:
          if (fetching) plan.failed(*fetching);
          fetching.reset();
          break;
        case 4:
          if (syncing) break;
          syncing = plan.begin_sync();
          if (syncing) {
            ASSERT_TRUE(whole.contains(*syncing));
          }
          break;
        default:
          if (syncing) plan.synced(*syncing);
          syncing.reset();
      }
      std::erase_if(whole, [&](const auto& segment) { return !plan.wanted(segment); });
      ASSERT_LE(whole.size(), most);
    }
  }
}

}  // namespace
}  // namespace weir::restore::prefetch_plan_test
