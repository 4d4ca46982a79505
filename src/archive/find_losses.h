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

/// All that no record (`recorded`, from read_losses()) tells of: holes, as below and as marks of
/// earlier versions tell them, and branches that the history of the newest timeline has left
/// behind.
[[nodiscard]] std::vector<Loss> find_unrecorded_losses(io::Shelf& directory, const Listing& listing,
                                                       const Timelines& timelines,
                                                       wal::SegmentSize segment_size,
                                                       std::span<const Loss> recorded);

/// Holes between finished segments, and before rows of unfinished ones, on each way
/// through the archive, that no record (`recorded`, from read_losses()) tells of: by names alone,
/// by begin. The cause is filled in; whose WAL it is and when it was found is not.
[[nodiscard]] std::vector<Loss> find_holes(const Listing& listing, const Timelines& timelines,
                                           wal::SegmentSize segment_size,
                                           std::span<const Loss> recorded);

/// Number of the first segment behind the row of unfinished ones that `first` begins, of which
/// there is no finished form. A receiver has several of them for a moment, and a crash leaves them:
/// one that follows another proves nothing. Where `first` is not there, or empty, the row ends with
/// it: whatever is behind it proves that it was complete once. `stops_before`: the row does not go
/// on with that segment, although it is there. By names and the sizes of unfinished ones.
[[nodiscard]] std::uint64_t end_of_unfinished_row(
    const Listing& listing, wal::SegmentName first, wal::SegmentSize size,
    const std::function<bool(std::uint64_t segno)>& stops_before = {});

/// True of a hole that find_holes() tells while nothing but unfinished segments of the newest
/// timeline lies behind it: there find_resume_point() lets a receiver go on at its next start. Such
/// a hole is not to be recorded: by a record it would be given up.
[[nodiscard]] bool is_asked_for_at_a_start(const Loss& hole, const Listing& listing,
                                           wal::SegmentSize segment_size,
                                           std::span<const Loss> recorded);

/// Branches that `history` has left behind although the archive has more of them, likewise. Reads
/// at most one unfinished segment of each ancestor. Throws Error{io}.
[[nodiscard]] std::vector<Loss> find_lost_branches(io::Shelf& directory, const Listing& listing,
                                                   const wal::TimelineHistory& history,
                                                   wal::SegmentSize segment_size,
                                                   std::span<const Loss> recorded);

/// Where the sound WAL of that timeline ends that begins at the first byte of a segment, `from`, or
/// leads there: behind its last complete record, which may lie before `from`, also where no record
/// begins in the last segment. Reads the unfinished segments behind the row of finished ones.
/// Throws Error{io}.
[[nodiscard]] wal::Lsn sound_end(io::Shelf& directory, const Listing& listing,
                                 wal::TimelineId timeline, wal::Lsn from,
                                 wal::SegmentSize segment_size);

/// The same; nullopt where an archive that begins there has no complete record of that timeline.
[[nodiscard]] std::optional<wal::Lsn> archived_end(io::Shelf& directory, const Listing& listing,
                                                   wal::TimelineId timeline, wal::Lsn from,
                                                   wal::SegmentSize segment_size);

/// The loss that begins where `history` leaves `timeline`, of which sound WAL is there up to `end`;
/// nullopt if nothing is behind the switchpoint.
[[nodiscard]] std::optional<Loss> lost_branch(const wal::TimelineHistory& history,
                                              wal::TimelineId timeline, wal::Lsn end,
                                              wal::SegmentSize segment_size);

/// Fills in commits and counted_to of a lost branch: reads its WAL, up to a bound that takes
/// seconds, and up to where it is not sound. What cannot be read ends the counting.
void count_commits(io::Shelf& directory, const Listing& listing, Loss& branch);

}  // namespace weir::archive
