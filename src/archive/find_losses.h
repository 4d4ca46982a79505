#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/timelines.h"
#include "io/shelf.h"
#include "wal/segment.h"

namespace weir::archive {

/// Returns all losses without a record (`recorded`, from read_losses()): holes, as found by the
/// function below and as reported by marks of earlier versions, and branches abandoned by the
/// history of the newest timeline.
[[nodiscard]] std::vector<Loss> find_unrecorded_losses(io::Shelf& directory, const Listing& listing,
                                                       const Timelines& timelines,
                                                       wal::SegmentSize segment_size,
                                                       std::span<const Loss> recorded);

/// Returns holes without a record (`recorded`, from read_losses()): those between complete
/// segments, and those before rows of partial ones, on each history in the archive. A recorded hole
/// of another branch does not count, even at the same positions. By names alone, ordered by start.
/// The cause is filled in; the server and the time of detection are not.
[[nodiscard]] std::vector<Loss> find_holes(const Listing& listing, const Timelines& timelines,
                                           wal::SegmentSize segment_size,
                                           std::span<const Loss> recorded);

/// Returns the ranges of a hole in which a recovery along `history` needs the same segments, in
/// order: another branch needs other segments at the same positions. If no valid history shows
/// which segments the hole has of each of its timelines, its whole range is returned, provided that
/// `history` contains one of them.
[[nodiscard]] std::vector<Loss::Range> needed_along(const Loss& hole,
                                                    const wal::TimelineHistory& history,
                                                    const Timelines& timelines,
                                                    wal::SegmentSize segment_size);

/// Number of the first segment after the row of partial segments that starts with `first`, of which
/// there is no complete file. A receiver temporarily has several of them, and a crash leaves them,
/// so a partial segment after another proves nothing. If `first` is missing or empty, the row ends
/// with it: any segment after it proves that it was once complete. `stops_before`: the row does not
/// include that segment, even if it is present. By names and the sizes of partial segments.
[[nodiscard]] std::uint64_t end_of_unfinished_row(
    const Listing& listing, wal::SegmentName first, wal::SegmentSize size,
    const std::function<bool(std::uint64_t segno)>& stops_before = {});

/// True for a hole from find_holes() that is followed only by partial segments of the newest
/// timeline: find_resume_point() makes a receiver request it again at its next start. Such a hole
/// must not be recorded, because a recorded hole is no longer requested.
[[nodiscard]] bool is_asked_for_at_a_start(const Loss& hole, const Listing& listing,
                                           wal::SegmentSize segment_size,
                                           std::span<const Loss> recorded);

/// Returns branches that `history` has abandoned although the archive has more of them, likewise.
/// Reads at most one partial segment of each ancestor. Throws Error{io}.
[[nodiscard]] std::vector<Loss> find_lost_branches(io::Shelf& directory, const Listing& listing,
                                                   const wal::TimelineHistory& history,
                                                   wal::SegmentSize segment_size,
                                                   std::span<const Loss> recorded);

/// End of the valid WAL of that timeline that starts at the first byte of a segment, `from`, or
/// leads to it: the end of its last complete record, which may precede `from`, also if no record
/// starts in the last segment. Reads the partial segments after the row of complete ones. Throws
/// Error{io}.
[[nodiscard]] wal::Lsn sound_end(io::Shelf& directory, const Listing& listing,
                                 wal::TimelineId timeline, wal::Lsn from,
                                 wal::SegmentSize segment_size);

/// The same; nullopt if an archive that starts there has no complete record of that timeline.
[[nodiscard]] std::optional<wal::Lsn> archived_end(io::Shelf& directory, const Listing& listing,
                                                   wal::TimelineId timeline, wal::Lsn from,
                                                   wal::SegmentSize segment_size);

/// The loss that starts where `history` leaves `timeline`, whose valid WAL ends at `end`; nullopt
/// if there is no WAL after the switchpoint.
[[nodiscard]] std::optional<Loss> lost_branch(const wal::TimelineHistory& history,
                                              wal::TimelineId timeline, wal::Lsn end,
                                              wal::SegmentSize segment_size);

/// Fills in commits and counted_to of a lost branch: reads its WAL, up to a limit that takes
/// seconds, and up to where it is not valid. An unreadable file ends the counting.
void count_commits(io::Shelf& directory, const Listing& listing, Loss& branch);

}  // namespace weir::archive
