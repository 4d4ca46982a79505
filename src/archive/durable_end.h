#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// The flush position of a receiver that streams into the archive.
struct DurableEnd {
  wal::TimelineId timeline = 0;
  wal::Lsn flush;
  /// Write position: WAL between the flush position and this one is being written. 0/0 if unknown.
  wal::Lsn write{};
};
/// Asks that receiver; nullopt if none streams. Throws nothing.
using AskDurableEnd = std::function<std::optional<DurableEnd>()>;

/// Number of bytes of the segment's raw .partial that no longer change, according to the receiver.
/// All of them if it is not the segment being written, or if the receiver reports nothing.
[[nodiscard]] std::uint64_t settled_bytes(wal::SegmentName segment, wal::SegmentSize size,
                                          const std::optional<DurableEnd>& durable);

}  // namespace weir::archive
