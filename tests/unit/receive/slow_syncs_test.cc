#include "receive/slow_syncs.h"

#include <gtest/gtest.h>

namespace weir::receive::slow_syncs_test {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart{1'000'000s};

TEST(SlowSyncs, WarnsOfTheFirstAtOnceAndTellsTheOthersTogether) {
  SlowSyncs slow(1s);
  EXPECT_FALSE(slow.add(1s, kStart));
  const auto first = slow.add(1500ms, kStart + 1s);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->duration, 1500ms);
  EXPECT_EQ(first->earlier, 0u);
  EXPECT_EQ(first->since, 0s);

  EXPECT_FALSE(slow.add(9s, kStart + 20s));
  EXPECT_FALSE(slow.add(2s, kStart + 60s));
  EXPECT_FALSE(slow.add(3s, kStart + 1s + SlowSyncs::kQuiet - 1ms));
  const auto next = slow.add(2s, kStart + 1s + SlowSyncs::kQuiet);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->duration, 2s);
  EXPECT_EQ(next->earlier, 3u);
  EXPECT_EQ(next->worst, 9s);
  EXPECT_EQ(next->since, SlowSyncs::kQuiet);

  // What was told is not told again.
  const auto last = slow.add(2s, kStart + 1s + 3 * SlowSyncs::kQuiet);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->earlier, 0u);
  EXPECT_EQ(last->worst, 2s);
}

}  // namespace
}  // namespace weir::receive::slow_syncs_test
