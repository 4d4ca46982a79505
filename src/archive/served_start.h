#pragma once

#include <optional>

#include "archive/listing.h"
#include "base/error.h"
#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// Where the partial WAL starts in an archive that is read, and not received into: damage in
/// complete segments before that position does not prevent reading the WAL before and after the
/// damage.
struct ServedStart {
  wal::TimelineId timeline = 0;
  wal::Lsn start;  ///< a segment's first byte
  /// The error in the newest complete segment, if every file of it is damaged.
  std::optional<Error> damage = std::nullopt;
  std::optional<wal::SegmentName> damaged = std::nullopt;
};

/// As find_resume_point(), except for damage. Throws Error{conflict, io}.
[[nodiscard]] std::optional<ServedStart> find_served_start(io::Shelf& directory,
                                                           const Listing& listing,
                                                           wal::SegmentSize segment_size);

}  // namespace weir::archive
