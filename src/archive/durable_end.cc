#include "archive/durable_end.h"

#include <algorithm>

namespace weir::archive {

std::uint64_t settled_bytes(wal::SegmentName segment, wal::SegmentSize size,
                            const std::optional<DurableEnd>& durable) {
  if (!durable || durable->timeline != segment.timeline()) return size.bytes();
  const auto start = segment.start(size);
  if (durable->flush <= start) return 0;
  return std::min<std::uint64_t>(durable->flush - start, size.bytes());
}

}  // namespace weir::archive
