#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// A file that is not in the archive, and it is right that it is not: the archive ends before it,
/// or another timeline has these bytes. Recovery may look elsewhere, or end.
struct Absent {
  enum class Reason {
    elsewhere,  ///< it was never written under this name: no other look can show it
    end,        ///< nothing whatever lies behind it, as far as this listing shows
  };
  std::string why;
  Reason reason = Reason::end;
};
/// A file that ought to be in the archive and is not: a recovery that took it for the end of the
/// WAL would open the database with data missing.
struct Gap {
  std::string what;
};
using Absence = std::variant<Absent, Gap>;

/// A hole of which the archive has a record: WAL from `begin` on is not there, `end` on
/// `next_timeline` is where it goes on.
struct KnownHole {
  wal::TimelineId timeline = 0;
  wal::Lsn begin;
  wal::TimelineId next_timeline = 0;
  wal::Lsn end;
};

/// By the marks beside unfinished segments. Its begin is where the segments before it end.
[[nodiscard]] std::vector<KnownHole> known_holes(const archive::Listing& listing,
                                                 wal::SegmentSize size);

// Decided by names, histories and records of holes alone; pure. `listing` has no finished form of
// what is asked for. `size` is the archive's segment size.

/// What proves that `segment` was once complete on its timeline, in words; nullopt if nothing does:
/// - a later segment of the same timeline, finished or not, or a recorded hole behind it;
/// - a descendant that left this timeline behind this segment, be it that only its history is
///   there, or that its history cannot be read.
/// Where the segment itself is there as `.partial`, the unfinished ones that follow it one after
/// the other prove nothing: a receiver has several of them for a moment, and a crash leaves them.
[[nodiscard]] std::optional<std::string> find_proof(wal::SegmentName segment,
                                                    const archive::Listing& listing,
                                                    const archive::Timelines& timelines,
                                                    wal::SegmentSize size,
                                                    const std::vector<KnownHole>& holes);

/// The unfinished segments that follow `segment`, which is unfinished itself, without a hole
/// between; in order.
[[nodiscard]] std::vector<archive::SegmentFileName> unfinished_behind(
    wal::SegmentName segment, const archive::Listing& listing, wal::SegmentSize size,
    const std::vector<KnownHole>& holes);

/// PostgreSQL tries every timeline of its history from the newest down, for each segment: that a
/// newer one does not have it is normal. It is a gap if find_proof() finds something.
[[nodiscard]] Absence judge_absent_segment(wal::SegmentName segment,
                                           const archive::Listing& listing,
                                           const archive::Timelines& timelines,
                                           wal::SegmentSize size,
                                           const std::vector<KnownHole>& holes);

/// The same where nothing tells the segment size: names of one timeline have an order all the same.
[[nodiscard]] Absence judge_absent_segment(wal::SegmentName segment,
                                           const archive::Listing& listing);

/// A history that is not there means to recovery that the timeline does not exist. That is untrue
/// if there are segments of it, or if a later history or the record of a hole tells that it
/// existed.
[[nodiscard]] Absence judge_absent_history(wal::TimelineId timeline,
                                           const archive::Listing& listing,
                                           const archive::Timelines& timelines,
                                           const std::vector<KnownHole>& holes);

// A store's manifests tell of what was stored. What they tell of and nobody has was lost there.
// `told` has the names of it.

/// That they tell of this segment, or of later WAL on its way.
[[nodiscard]] std::optional<Gap> told_of(wal::SegmentName segment, const archive::Listing& told,
                                         const archive::Timelines& timelines, wal::SegmentSize size,
                                         const std::vector<KnownHole>& holes);
/// That they tell of this history, or of a segment of its timeline.
[[nodiscard]] std::optional<Gap> told_of(wal::TimelineId timeline, const archive::Listing& told,
                                         const archive::Timelines& timelines);

}  // namespace weir::restore
