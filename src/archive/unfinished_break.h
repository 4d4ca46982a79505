#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "archive/listing.h"
#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// A place in the partial WAL where it is not valid, with more WAL after it. The files alone do not
/// show the cause. A power loss leaves it: individual pages that were not flushed may be missing,
/// and nothing from the first of them on was confirmed. Damage to confirmed WAL looks the same.
struct Break {
  std::string file;
  wal::Lsn at;               ///< the first byte that is not available
  std::uint64_t offset = 0;  ///< in the file where it was found
  std::string what;
  bool operator==(const Break&) const = default;
};

/// Reads the row of partial segments of a timeline from `from` on, a segment's first byte, as
/// sound_end() does, up to the end of the last of them. If the segment at `from` or one of the row
/// is missing, with WAL in a later one, that is a break, too. Returns nullopt without reading if
/// the files have more than `most` bytes. Throws Error{io}.
[[nodiscard]] std::optional<Break> find_break(
    io::Shelf& archive, const Listing& listing, wal::TimelineId timeline, wal::Lsn from,
    wal::SegmentSize size, std::uint64_t most = std::numeric_limits<std::uint64_t>::max());

}  // namespace weir::archive
