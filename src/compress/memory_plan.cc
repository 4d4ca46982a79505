#include "compress/memory_plan.h"

#include <algorithm>

namespace weir::compress {

namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
/// The program, its threads, and page cache that is just being written.
constexpr std::uint64_t kBase = 12 * kMiB;

/// One segment at a time: the compressor, its buffers, and the reader of the old file.
std::uint64_t one_job(const codec::Compression& how, wal::SegmentSize segment_size) {
  return codec::compression_memory(how, segment_size.bytes()) + kMiB;
}

/// Less than the limit: the allocator keeps some unused pages.
std::uint64_t usable(std::uint64_t limit) { return limit - limit / 8; }

}  // namespace

std::optional<MemoryPlan> plan_memory(std::optional<std::uint64_t> limit,
                                      const codec::Compression& wanted, unsigned jobs,
                                      wal::SegmentSize segment_size) {
  MemoryPlan plan{.compression = wanted, .jobs = jobs};
  if (!limit) return plan;
  const auto room = usable(*limit);
  while (kBase + one_job(plan.compression, segment_size) > room) {
    if (plan.compression.level <= 1) return std::nullopt;
    --plan.compression.level;
  }
  const auto fit = (room - kBase) / one_job(plan.compression, segment_size);
  plan.jobs = static_cast<unsigned>(std::min<std::uint64_t>(jobs, fit));
  return plan;
}

std::uint64_t least_memory(const codec::Compression& wanted, wal::SegmentSize segment_size) {
  const auto lowest = codec::Compression{wanted.method, wanted.level > 0 ? 1 : 0};
  const auto needed = kBase + one_job(lowest, segment_size);
  return needed + needed / 7 + kMiB;
}

}  // namespace weir::compress
