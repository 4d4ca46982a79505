#include "receive/memory_plan.h"

#include <gtest/gtest.h>

#include "archive/segment_writer.h"
#include "receive/stream_state.h"

namespace weir::receive::memory_plan_test {
namespace {

constexpr std::uint64_t kMB = 1 << 20;

wal::SegmentSize size(std::uint64_t megabytes) { return *wal::SegmentSize::of(megabytes * kMB); }
codec::Compression zstd(int level) { return {codec::Method::zstd, level}; }

/// What the plan may come to hold at once.
std::uint64_t most(const MemoryPlan& plan, wal::SegmentSize segment) {
  const auto compression = plan.compression.method == codec::Method::none
                               ? 0
                               : codec::compression_memory(plan.compression, segment.bytes());
  if (!plan.buffer_segments) return plan.compressions * compression;
  const auto each = std::min(segment.bytes(), archive::kLargestBuffered);
  const auto segments = plan.unsynced_limit.value_or(unsynced_limit(each)) / each + 1;
  return segments * (each + (plan.quick ? compression : 0)) + plan.compressions * compression;
}

TEST(MemoryPlan, ChangesNothingWithoutALimitOrWithALargeOne) {
  for (const auto limit : {std::optional<std::uint64_t>(), std::optional(4096 * kMB)}) {
    const auto plan = plan_memory(limit, zstd(19), size(16));
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->compression.level, 19);
    EXPECT_TRUE(plan->buffer_segments);
    EXPECT_TRUE(plan->quick);
    EXPECT_FALSE(plan->unsynced_limit);
  }
}

TEST(MemoryPlan, StaysBelowEveryLimit) {
  for (const std::uint64_t megabytes : {1, 16, 64, 1024})
    for (int level = 0; level <= 22; ++level)
      for (std::uint64_t limit = 1; limit <= 1024; limit += 1 + limit / 32) {
        SCOPED_TRACE(::testing::Message()
                     << megabytes << " MB, zstd:" << level << ", limit " << limit);
        const auto wanted = level == 0 ? codec::Compression{} : zstd(level);
        const auto plan = plan_memory(limit * kMB, wanted, size(megabytes));
        if (!plan) {
          EXPECT_LT(limit * kMB, least_memory(wanted, size(megabytes)));
          continue;
        }
        EXPECT_LE(plan->compression.level, level);
        ASSERT_LT(most(*plan, size(megabytes)) + 10 * kMB, limit * kMB);
        if (plan->buffer_segments) {
          EXPECT_GE(plan->unsynced_limit.value_or(64 * kMB),
                    2 * std::min(size(megabytes).bytes(), archive::kLargestBuffered))
              << "else the stream would stop at each segment's end";
        }
      }
}

TEST(MemoryPlan, LeavesRoomForWhatRunsBesideTheReceiver) {
  constexpr auto kBeside = 14 * kMB;
  for (std::uint64_t limit = 40; limit <= 256; ++limit) {
    SCOPED_TRACE(limit);
    const auto plan = plan_memory(limit * kMB, zstd(9), size(16), kBeside);
    if (!plan) {
      EXPECT_LT(limit * kMB, least_memory(zstd(9), size(16), kBeside));
      continue;
    }
    ASSERT_LT(most(*plan, size(16)) + 10 * kMB + kBeside, limit * kMB);
  }
  EXPECT_GT(least_memory(zstd(9), size(16), kBeside), least_memory(zstd(9), size(16)) + kBeside);
}

TEST(MemoryPlan, HasSeveralSegmentsCompressedAtOnceWhereThatTakesLittle) {
  const auto at = [](int level, std::optional<std::uint64_t> limit) {
    return plan_memory(limit, zstd(level), size(64)).value().compressions;
  };
  EXPECT_EQ(at(1, std::nullopt), kMostCompressions);
  EXPECT_EQ(at(9, std::nullopt), kMostCompressions);
  EXPECT_EQ(at(19, std::nullopt), 1u) << "each would take 90 MB more";
  EXPECT_EQ(at(9, 4096 * kMB), kMostCompressions);
  EXPECT_EQ(at(9, least_memory(zstd(9), size(64))), 1u);
  EXPECT_EQ(plan_memory(std::nullopt, {}, size(64))->compressions, 1u);
}

TEST(MemoryPlan, SaysWhatIsNeededWhereNothingFits) {
  for (const std::uint64_t megabytes : {1, 16, 64, 1024}) {
    const auto least = least_memory(zstd(19), size(megabytes));
    EXPECT_TRUE(plan_memory(least, zstd(19), size(megabytes)));
    EXPECT_FALSE(plan_memory(least / 2, zstd(19), size(megabytes)));
    EXPECT_LE(least, 64 * kMB);
  }
}

}  // namespace
}  // namespace weir::receive::memory_plan_test
