#pragma once

#include <cstdint>
#include <optional>

#include "codec/codec.h"
#include "wal/segment.h"

namespace weir::receive {

/// More would increase the load of the archive's disk more than they would help.
inline constexpr unsigned kMostCompressions = 4;

/// How a receiver stays below its memory limit. Page cache is not counted: the kernel reclaims it,
/// if little of it is dirty (io::limit_dirty_pages()).
struct MemoryPlan {
  codec::Compression compression;  ///< at the highest level up to the requested one that fits
  /// While catching up, segments may be buffered in memory…
  bool buffer_segments = true;
  /// …with at most this many bytes of WAL that is not durable yet; nullopt: the default bound.
  std::optional<std::uint64_t> unsynced_limit;
  bool quick = true;  ///< and compressed there
  /// Number of concurrent compressions, if there are enough processors.
  unsigned compressions = kMostCompressions;
};

/// `limit` in bytes; nullopt: none. `beside`: bytes that other parts of the process need (the
/// store, the relay, the web page). Pure. Returns nullopt if not even the lowest level fits: then
/// see least_memory().
[[nodiscard]] std::optional<MemoryPlan> plan_memory(std::optional<std::uint64_t> limit,
                                                    const codec::Compression& wanted,
                                                    wal::SegmentSize segment_size,
                                                    std::uint64_t beside = 0);
/// The limit required for the lowest level of that method.
[[nodiscard]] std::uint64_t least_memory(const codec::Compression& wanted,
                                         wal::SegmentSize segment_size, std::uint64_t beside = 0);

}  // namespace weir::receive
