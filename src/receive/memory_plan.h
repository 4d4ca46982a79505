#pragma once

#include <cstdint>
#include <optional>

#include "codec/codec.h"
#include "wal/segment.h"

namespace weir::receive {

/// More would read and write the archive's disk more than they would help.
inline constexpr unsigned kMostCompressions = 4;

/// How a receiver stays below the memory that it is allowed. Page cache is not counted: the kernel
/// takes it back.
struct MemoryPlan {
  codec::Compression compression;  ///< at the highest level up to the wanted one that fits
  /// Far behind, segments may be buffered in memory…
  bool buffer_segments = true;
  /// …this many bytes of WAL that is not durable yet at most; nullopt: the usual bound.
  std::optional<std::uint64_t> unsynced_limit;
  bool quick = true;  ///< and compressed there
  /// Finished segments that are compressed at once, if there are processors for it.
  unsigned compressions = kMostCompressions;
};

/// `limit` in bytes; nullopt: none. Pure. nullopt if not even the lowest level fits: then
/// least_memory() does.
[[nodiscard]] std::optional<MemoryPlan> plan_memory(std::optional<std::uint64_t> limit,
                                                    const codec::Compression& wanted,
                                                    wal::SegmentSize segment_size);
/// The limit that is needed for the lowest level of that method.
[[nodiscard]] std::uint64_t least_memory(const codec::Compression& wanted,
                                         wal::SegmentSize segment_size);

}  // namespace weir::receive
