#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// Up to where a receiver that streams into the archive has made it durable.
struct DurableEnd {
  wal::TimelineId timeline = 0;
  wal::Lsn flush;
  /// Up to where it has handed WAL to the kernel: what lies between is written at this moment.
  /// 0/0: that is not known.
  wal::Lsn write{};
};
/// Asks that receiver; nullopt if none streams. Throws nothing.
using AskDurableEnd = std::function<std::optional<DurableEnd>()>;

/// So many bytes of the segment's raw .partial do not change any more, by what the receiver says.
/// All of them if it is not the one being written, or if nobody says anything.
[[nodiscard]] std::uint64_t settled_bytes(wal::SegmentName segment, wal::SegmentSize size,
                                          const std::optional<DurableEnd>& durable);

}  // namespace weir::archive
