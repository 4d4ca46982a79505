#pragma once

#include <chrono>
#include <vector>

#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// The end of a timeline in the history of a descendant.
struct Left {
  wal::Lsn at;             ///< switchpoint
  wal::TimelineId by = 0;  ///< the descendant
  /// The descendant's history was written.
  std::chrono::system_clock::time_point written{};
  /// The server does not follow the descendant: it has copied that history along with the one of a
  /// newer timeline, which it follows. A server writes the history of its new target first, and
  /// then those of the lower numbers (restoreTimeLineHistoryFiles()). That of a timeline which it
  /// rejects (rescanLatestTimeLine() in access/transam/xlogrecovery.c) is written after its
  /// target's.
  bool is_copy = false;
};

/// From the histories in a server's pg_wal, where readTimeLineHistory() in
/// access/transam/timeline.c keeps that of the timeline that the server follows. Invalid files are
/// ignored. Throws Error{io}.
[[nodiscard]] std::vector<Left> lefts_of(io::Shelf& pg_wal, wal::TimelineId timeline);

/// True if the position is in the segment for some segment size.
[[nodiscard]] bool may_be_in(wal::Lsn at, wal::SegmentName segment);

/// True if one of these positions may be in the segment. What a server that
/// follows the descendant gets of it is decided for each request, and not by a file that was
/// fetched ahead.
[[nodiscard]] bool may_be_left_in(io::Shelf& pg_wal, wal::SegmentName segment);

}  // namespace weir::restore
