#include "compress/memory_plan.h"

#include <gtest/gtest.h>

namespace weir::compress::memory_plan_test {
namespace {

constexpr std::uint64_t kMB = 1 << 20;

wal::SegmentSize size(std::uint64_t megabytes) { return *wal::SegmentSize::of(megabytes * kMB); }
codec::Compression zstd(int level) { return {codec::Method::zstd, level}; }

TEST(ConversionMemoryPlan, ChangesNothingWithoutALimitOrWithALargeOne) {
  for (const auto limit : {std::optional<std::uint64_t>(), std::optional(4096 * kMB)}) {
    const auto plan = plan_memory(limit, zstd(19), 8, size(16));
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->compression.level, 19);
    EXPECT_EQ(plan->jobs, 8U);
  }
}

TEST(ConversionMemoryPlan, StaysBelowEveryLimit) {
  for (const std::uint64_t megabytes : {1, 16, 64, 1024})
    for (int level = 1; level <= 22; ++level)
      for (std::uint64_t limit = 1; limit <= 1024; limit += 1 + limit / 32) {
        SCOPED_TRACE(::testing::Message()
                     << megabytes << " MB, zstd:" << level << ", limit " << limit);
        const auto plan = plan_memory(limit * kMB, zstd(level), 8, size(megabytes));
        if (!plan) {
          EXPECT_LT(limit * kMB, least_memory(zstd(level), size(megabytes)));
          continue;
        }
        EXPECT_LE(plan->compression.level, level);
        ASSERT_GE(plan->jobs, 1U);
        ASSERT_LE(plan->jobs, 8U);
        const auto one = codec::compression_memory(plan->compression, size(megabytes).bytes());
        ASSERT_LT(plan->jobs * one + 10 * kMB, limit * kMB);
      }
}

TEST(ConversionMemoryPlan, TakesFewerJobsBeforeALowerLevel) {
  const auto one = codec::compression_memory(zstd(19), 16 * kMB);
  const auto plan = plan_memory(3 * one + 30 * kMB, zstd(19), 8, size(16));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->compression.level, 19);
  EXPECT_EQ(plan->jobs, 2U);
  const auto lower = plan_memory(one, zstd(19), 8, size(16));
  ASSERT_TRUE(lower);
  EXPECT_LT(lower->compression.level, 19);
}

TEST(ConversionMemoryPlan, SaysWhatIsNeededWhereNothingFits) {
  const auto least = least_memory(zstd(19), size(16));
  EXPECT_TRUE(plan_memory(least, zstd(19), 8, size(16)));
  EXPECT_FALSE(plan_memory(least / 2, zstd(19), 8, size(16)));
  EXPECT_LE(least, 32 * kMB);
}

}  // namespace
}  // namespace weir::compress::memory_plan_test
