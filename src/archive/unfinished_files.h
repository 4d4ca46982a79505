#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "archive/durable_end.h"
#include "archive/listing.h"
#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::archive {

/// A file from which the WAL of a segment that is not finished may be read.
struct UnfinishedFile {
  SegmentFileName name;
  /// What it holds counts up to there: the end of the segment; of an ancestor's file the
  /// switchpoint at which that timeline was left.
  wal::Lsn limit;
  bool operator==(const UnfinishedFile&) const = default;
};

/// All of them that are there, in the order in which they count if they hold the same: the
/// segment's own, in the order of kForms, and then those of ancestors in `history` (not owned,
/// nullptr: unknown) that were left within the segment, the nearest first, finished or not. A
/// timeline's first segment begins with a copy of the ancestor's WAL (XLogInitNewTimeline() in
/// access/transam/xlog.c), so the ancestor's file has it as long as a new file has not come to the
/// switchpoint. None of these if a raw file of the segment itself is past it. Throws Error{io}.
[[nodiscard]] std::vector<UnfinishedFile> unfinished_files(io::Shelf& shelf,
                                                           wal::SegmentName segment,
                                                           wal::SegmentSize size,
                                                           const wal::TimelineHistory* history);

/// How much of the segment's WAL is in one of them.
struct UnfinishedEnd {
  wal::Lsn records;   ///< end of the last complete record; 0/0: none
  wal::Lsn sound_to;  ///< valid up to there, be it within a record
  auto operator<=>(const UnfinishedEnd&) const = default;
};

/// Reads the file, up to damage. If a receiver is writing a raw one, only its durable WAL counts.
/// nullopt: it is gone. Throws Error{io}.
[[nodiscard]] std::optional<UnfinishedEnd> find_unfinished_end(
    io::Shelf& shelf, const UnfinishedFile& file, wal::SegmentName segment, wal::SegmentSize size,
    const wal::TimelineHistory* history, const AskDurableEnd& durable_end);

/// Which of `files` has the most; the first of those that have the same. A file that is gone counts
/// least. `files` is not empty. If it has only one element, nothing is read. Throws Error{io}.
[[nodiscard]] const UnfinishedFile& farthest(io::Shelf& shelf,
                                             std::span<const UnfinishedFile> files,
                                             wal::SegmentName segment, wal::SegmentSize size,
                                             const wal::TimelineHistory* history,
                                             const AskDurableEnd& durable_end);

}  // namespace weir::archive
