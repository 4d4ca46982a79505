#include "receive/sync_times.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace weir::receive::sync_times_test {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart{1'000'000s};

TEST(SyncTimes, HasNothingToSayWithoutASync) {
  const SyncTimes times;
  EXPECT_FALSE(times.summary(kStart));
}

TEST(SyncTimes, GivesPercentilesThatAreAtMostAnEighthTooHigh) {
  std::mt19937_64 random(7);  // seed 7
  SyncTimes times;
  std::vector<std::chrono::nanoseconds> all;
  for (int i = 0; i < 5'000; ++i) {
    const auto duration =
        std::chrono::nanoseconds(2'000 + random() % (1ull << (12 + random() % 20)));
    all.push_back(duration);
    times.add(duration, kStart + i * 50ms);
  }
  std::ranges::sort(all);
  const auto summary = times.summary(kStart + 5'000 * 50ms);
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->count, 5'000u);
  EXPECT_EQ(summary->worst, all.back());
  EXPECT_GE(summary->p50, all[2'499]);
  EXPECT_LE(summary->p50, all[2'499] * 1126 / 1000);
  EXPECT_GE(summary->p99, all[4'949]);
  EXPECT_LE(summary->p99, all[4'949] * 1126 / 1000);
}

TEST(SyncTimes, GivesEachDurationAnEndThatIsNotBelowIt) {
  for (std::int64_t power = 1; power < (std::int64_t{1} << 40); power *= 2)
    for (const auto near : {-1, 0, 1}) {
      const std::chrono::nanoseconds duration(power + near);
      SyncTimes times;
      times.add(duration, kStart);
      times.add(std::chrono::hours(100), kStart);
      const auto p50 = times.summary(kStart)->p50;
      EXPECT_GE(p50, duration);
      EXPECT_LE(p50, std::max<std::chrono::nanoseconds>(duration * 1126 / 1000, 512ns));
    }
}

TEST(SyncTimes, ForgetsWhatIsOlderThanFiveMinutes) {
  SyncTimes times;
  times.add(3s, kStart);
  times.add(1ms, kStart + 200s);
  EXPECT_EQ(times.summary(kStart + 200s)->worst, 3s);
  const auto later = times.summary(kStart + SyncTimes::kWindow);
  ASSERT_TRUE(later);
  EXPECT_EQ(later->count, 1u);
  EXPECT_EQ(later->worst, 1ms);
  EXPECT_FALSE(times.summary(kStart + 200s + SyncTimes::kWindow));
  // The place of the old ones is taken by new ones.
  times.add(2ms, kStart + 2 * SyncTimes::kWindow);
  EXPECT_EQ(times.summary(kStart + 2 * SyncTimes::kWindow)->count, 1u);
}

TEST(SyncTimes, TakesAnyDuration) {
  SyncTimes times;
  times.add(0ns, kStart);
  times.add(std::chrono::hours(100), kStart);
  const auto summary = times.summary(kStart);
  EXPECT_EQ(summary->count, 2u);
  EXPECT_EQ(summary->worst, std::chrono::hours(100));
  EXPECT_LE(summary->p50, 1us);
}

}  // namespace
}  // namespace weir::receive::sync_times_test
