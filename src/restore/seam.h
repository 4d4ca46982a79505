#pragma once

#include <optional>

#include "archive/wal_reader.h"
#include "wal/lsn.h"
#include "wal/record_verifier.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// The record that a segment begins in the middle of: its checksum needs the segment before, so a
/// check of one segment alone leaves its first part unchecked. The first record that starts in the
/// segment names (xl_prev) where the preceding one started; both are read from there, and nothing
/// else. That is a page or two, regardless of the segment size. If no later record has its whole
/// header in the segment (the WAL ends there, or the record reaches the segment's end), that
/// position is unknown: then the segment before is read from its start.
struct Seam {
  wal::Lsn segment_start;
  wal::Lsn first_record;     ///< that starts after the boundary; not 0/0
  wal::Lsn previous_record;  ///< according to that record; 0/0: unknown
  wal::SegmentSize segment_size;
  wal::TimelineId timeline = 1;
  const wal::TimelineHistory* history = nullptr;
};

enum class SeamVerdict {
  fits,
  unknown,  ///< the segments before are missing, or not valid themselves
  broken,   ///< the record does not continue in the segment as it started
};
struct SeamResult {
  SeamVerdict verdict = SeamVerdict::unknown;
  std::optional<wal::Damage> damage;  ///< if broken
};

/// `before` reads segments before the seam, `after` the segment itself.
[[nodiscard]] SeamResult check_seam(const Seam& seam, archive::WalSource& before,
                                    archive::WalSource& after);

}  // namespace weir::restore
