#pragma once

#include <string>
#include <variant>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// A file that is not in the archive, and it is right that it is not: the archive ends before it,
/// or another timeline has these bytes. Recovery may look elsewhere, or end.
struct Absent {
  std::string why;
};
/// A file that ought to be in the archive and is not: a recovery that took it for the end of the
/// WAL would open the database with data missing.
struct Gap {
  std::string what;
};
using Absence = std::variant<Absent, Gap>;

// Decided by names and histories alone; pure. `listing` has no finished form of what is asked for.
// `size` is the archive's segment size.

/// A segment file that proves that `segment` was once complete on its timeline; nullptr if there is
/// none. `partials`: an unfinished file proves it, too.
[[nodiscard]] const archive::SegmentEntry* find_later(wal::SegmentName segment,
                                                      const archive::Listing& listing,
                                                      const archive::Timelines& timelines,
                                                      wal::SegmentSize size, bool partials);

/// PostgreSQL tries every timeline of its history from the newest down, for each segment: that a
/// newer one does not have it is normal. It is a gap if something in the archive proves that this
/// segment of this timeline was once complete:
/// - a later segment of the same timeline, or
/// - a segment of a descendant that left this timeline behind this segment.
/// Where the segment itself is there as .partial, only finished segments prove it: the newest two
/// may be unfinished together for a moment.
[[nodiscard]] Absence judge_absent_segment(wal::SegmentName segment,
                                           const archive::Listing& listing,
                                           const archive::Timelines& timelines,
                                           wal::SegmentSize size);

/// A history that is not there means to recovery that the timeline does not exist. That is untrue
/// if there are segments of it, or if a later history tells that it existed.
[[nodiscard]] Absence judge_absent_history(wal::TimelineId timeline,
                                           const archive::Listing& listing,
                                           const archive::Timelines& timelines);

}  // namespace weir::restore
