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

/// A file that is rightly not in the archive: the archive ends before it, or another timeline has
/// these bytes. Recovery may look elsewhere, or end.
struct Absent {
  enum class Reason {
    elsewhere,  ///< it was never written under this name: another look-up cannot find it
    end,        ///< nothing follows it, as far as this listing shows
  };
  std::string why;
  Reason reason = Reason::end;
};
/// A file that should be in the archive and is missing: a recovery that took this for the end of
/// WAL would open the database with data missing.
struct Gap {
  std::string what;
  /// The file of pgweir in the archive that is the only evidence; empty: there is other evidence.
  std::string record{};
};
using Absence = std::variant<Absent, Gap>;

/// A recorded hole: the WAL from `begin` on is missing, and resumes at `end` on `next_timeline`.
struct KnownHole {
  wal::TimelineId timeline = 0;
  wal::Lsn begin;
  wal::TimelineId next_timeline = 0;
  wal::Lsn end;
};

/// By the marks of partial segments. It starts where the segments before it end.
[[nodiscard]] std::vector<KnownHole> known_holes(const archive::Listing& listing,
                                                 wal::SegmentSize size);

// Decided by names, histories and records of holes alone; pure. `listing` has no complete file of
// the requested segment. `size` is the archive's segment size.

/// Returns the evidence, in words, that `segment` was once complete on its timeline; nullopt if
/// there is none:
/// - a later segment of the same timeline, complete or not, or a recorded hole after it;
/// - the segment or a later one in a format of another program that pgweir does not read;
/// - a descendant that left this timeline after this segment, even if only its history is present,
///   or its history cannot be read. If the segment itself is present as `.partial`, the consecutive
///   partial segments that follow it are not evidence: a receiver temporarily has several of them,
///   and a crash leaves them.
[[nodiscard]] std::optional<std::string> find_proof(wal::SegmentName segment,
                                                    const archive::Listing& listing,
                                                    const archive::Timelines& timelines,
                                                    wal::SegmentSize size,
                                                    const std::vector<KnownHole>& holes);

/// A segment that exists and is not read: in a format of another program, or under a name that is
/// not one of a file.
struct Unread {
  wal::SegmentName segment;
  std::string what;
  bool partial = false;  ///< it proves nothing about the segments before it
};
/// nullopt for any other name.
[[nodiscard]] std::optional<Unread> unread_segment(const std::string& name);
/// Likewise, by the hidden name of a copy that rsync has not finished
/// (archive::parse_rsync_copy()).
[[nodiscard]] std::optional<Unread> copied_segment(const std::string& name,
                                                   const archive::Listing& listing);

/// The partial segments that follow `segment`, itself partial, without a hole between; in order.
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

/// The same if the segment size is unknown: names of one timeline are still ordered.
[[nodiscard]] Absence judge_absent_segment(wal::SegmentName segment,
                                           const archive::Listing& listing);

/// To recovery, a missing history file means that the timeline does not exist. That is wrong if
/// there are segments of it, or if a later history or the record of a hole shows that it existed.
[[nodiscard]] Absence judge_absent_history(wal::TimelineId timeline,
                                           const archive::Listing& listing,
                                           const archive::Timelines& timelines,
                                           const std::vector<KnownHole>& holes);

// A store's manifests list the files that were uploaded. A listed file that no archive has was
// lost. `told` has the listed names.

/// The manifests list this segment, or later WAL on its history.
[[nodiscard]] std::optional<Gap> told_of(wal::SegmentName segment, const archive::Listing& told,
                                         const archive::Timelines& timelines, wal::SegmentSize size,
                                         const std::vector<KnownHole>& holes);
/// The manifests list this history, or a segment of its timeline.
[[nodiscard]] std::optional<Gap> told_of(wal::TimelineId timeline, const archive::Listing& told,
                                         const archive::Timelines& timelines);

}  // namespace weir::restore
