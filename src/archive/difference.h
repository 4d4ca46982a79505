#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "wal/segment.h"

namespace weir::archive {

/// Complete segments in a row, on one timeline.
struct SegmentRange {
  wal::SegmentName first;
  wal::SegmentName last;
  std::size_t segments = 1;
  /// Along a history that the archive which lacks them has, there are complete segments before and
  /// after them: they are neither at its end nor of a branch that it does not have.
  bool hole = false;
  bool operator==(const SegmentRange&) const = default;
};

/// "000000010000000000000003 to 000000010000000000000005 (3 segments)"
[[nodiscard]] std::string to_text(const SegmentRange& range);

/// The complete segments and histories that only one of two archives has, by names alone.
struct Difference {
  std::vector<SegmentRange> only_one;
  std::vector<SegmentRange> only_other;
  std::vector<wal::TimelineId> histories_only_one;
  std::vector<wal::TimelineId> histories_only_other;
  std::vector<wal::SegmentName> both;  ///< segments, in order
};
/// `timelines`: those of both.
[[nodiscard]] Difference difference(const Listing& one, const Listing& other,
                                    const Timelines& timelines, wal::SegmentSize size);

}  // namespace weir::archive
