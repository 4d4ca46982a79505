#include "receive/memory_plan.h"

#include <algorithm>

#include "archive/segment_writer.h"
#include "receive/stream_policy.h"
#include "receive/stream_state.h"

namespace weir::receive {

namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
/// The program, its threads, libpq with TLS, the kernel's buffers of the connection, and page cache
/// being written. Measured: 8 to 11 MB without TLS.
constexpr std::uint64_t kBase = 20 * kMiB;

/// One compressing thread: the method's memory, its buffers, and the verification of the result.
std::uint64_t one_compression(const codec::Compression& how, wal::SegmentSize segment_size) {
  if (how.method == codec::Method::none) return 0;
  return codec::compression_memory(how, segment_size.bytes()) + kMiB;
}

/// Without a limit, maximum memory of further concurrent compressions.
constexpr std::uint64_t kMoreCompressions = 64 * kMiB;

/// Less than the limit: the allocator keeps some unused pages.
std::uint64_t usable(std::uint64_t limit) { return limit - limit / 8; }

}  // namespace

std::optional<MemoryPlan> plan_memory(std::optional<std::uint64_t> limit,
                                      const codec::Compression& wanted,
                                      wal::SegmentSize segment_size, std::uint64_t beside) {
  MemoryPlan plan;
  const auto base = kBase + beside;
  plan.compression = wanted;
  const auto compressions = [&](std::uint64_t left, std::uint64_t each) {
    if (each == 0) return 1u;
    return 1 + static_cast<unsigned>(std::min<std::uint64_t>(
                   std::min(left, kMoreCompressions) / each, kMostCompressions - 1));
  };
  if (!limit) {
    plan.compressions = compressions(kMoreCompressions, one_compression(wanted, segment_size));
    return plan;
  }
  const auto room = usable(*limit);
  while (base + one_compression(plan.compression, segment_size) > room) {
    if (plan.compression.level <= 1) return std::nullopt;
    --plan.compression.level;
  }
  const auto buffered = archive::piece_bytes(segment_size, archive::kLargestBuffered);
  const auto usual = unsynced_limit(buffered);
  const auto compression = one_compression(plan.compression, segment_size);
  auto left = room - base - compression;
  // Each buffered segment may be in a job that compresses it; this is the number of jobs.
  const auto segments = [&](std::uint64_t each) { return each == 0 ? 0 : left / each; };
  const auto all = usual / buffered + 2;
  plan.quick = segments(buffered + compression) >= 3;
  const auto count =
      std::min(plan.quick ? segments(buffered + compression) : segments(buffered), all);
  // One is being filled while another is written; bytes that are not durable span one more segment
  // than they fill.
  plan.buffer_segments = count >= 3;
  if (!plan.buffer_segments) plan.quick = false;
  if (plan.buffer_segments && count < all) plan.unsynced_limit = (count - 1) * buffered;
  if (plan.buffer_segments) left -= count * (plan.quick ? buffered + compression : buffered);
  plan.compressions = compressions(left, compression);
  return plan;
}

std::uint64_t least_memory(const codec::Compression& wanted, wal::SegmentSize segment_size,
                           std::uint64_t beside) {
  const auto lowest = codec::Compression{wanted.method, wanted.level > 0 ? 1 : 0};
  const auto needed = kBase + beside + one_compression(lowest, segment_size);
  return needed + needed / 7 + kMiB;
}

}  // namespace weir::receive
