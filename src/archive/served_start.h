#pragma once

#include <optional>

#include "archive/listing.h"
#include "base/error.h"
#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// Where the unfinished WAL of an archive begins that is read, and not received into: damage in
/// what is finished before that place keeps nobody from what lies before and behind it.
struct ServedStart {
  wal::TimelineId timeline = 0;
  wal::Lsn start;  ///< a segment's first byte
  /// What is wrong with the newest finished segment, in every form of it.
  std::optional<Error> damage = std::nullopt;
  std::optional<wal::SegmentName> damaged = std::nullopt;
};

/// As find_resume_point(), but for the damage. Throws Error{conflict, io}.
[[nodiscard]] std::optional<ServedStart> find_served_start(io::Shelf& directory,
                                                           const Listing& listing,
                                                           wal::SegmentSize segment_size);

}  // namespace weir::archive
