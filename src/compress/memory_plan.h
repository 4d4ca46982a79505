#pragma once

#include <cstdint>
#include <optional>

#include "codec/codec.h"
#include "wal/segment.h"

namespace weir::compress {

/// How a conversion stays below its memory limit. Page cache is not counted: the kernel reclaims
/// it.
struct MemoryPlan {
  codec::Compression compression;  ///< at the highest level that fits, up to the requested one
  unsigned jobs = 1;               ///< number of concurrent jobs, at most the wanted number
};

/// `limit` in bytes; nullopt: none. Reducing the number of jobs is preferred to a lower level,
/// which makes the archive larger. Pure. Returns nullopt if not even one job at the lowest level
/// fits: then see least_memory().
[[nodiscard]] std::optional<MemoryPlan> plan_memory(std::optional<std::uint64_t> limit,
                                                    const codec::Compression& wanted, unsigned jobs,
                                                    wal::SegmentSize segment_size);
/// The limit that is needed for one job at the lowest level.
[[nodiscard]] std::uint64_t least_memory(const codec::Compression& wanted,
                                         wal::SegmentSize segment_size);

}  // namespace weir::compress
