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

/// A place in the unfinished WAL where it is not sound, with more WAL behind it. By the files alone
/// nobody can tell what that is. A loss of power leaves it: pages that were not synced may be
/// missing one by one, and behind the first of them nothing was acknowledged. Damage to WAL that
/// was acknowledged looks the same.
struct Break {
  std::string file;
  wal::Lsn at;               ///< the first byte that cannot be had
  std::uint64_t offset = 0;  ///< in the file: where it was found
  std::string what;
  bool operator==(const Break&) const = default;
};

/// Reads the row of unfinished segments of a timeline from `from` on, a segment's first byte, as
/// sound_end() does, and on to where the last of them ends. Where the segment at `from` or one of
/// the row is missing, with WAL in a later one, that is a break, too. Nothing is read if that is
/// more than `most` bytes of files: nullopt then. Throws Error{io}.
[[nodiscard]] std::optional<Break> find_break(
    io::Shelf& archive, const Listing& listing, wal::TimelineId timeline, wal::Lsn from,
    wal::SegmentSize size, std::uint64_t most = std::numeric_limits<std::uint64_t>::max());

}  // namespace weir::archive
