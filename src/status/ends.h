#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/transaction_end.h"

namespace weir::status {

/// Where and when the WAL of one timeline begins and ends.
struct Ends {
  std::optional<wal::Commit> first;  ///< of the timeline itself, not of its ancestors
  std::optional<wal::Commit> last;
  /// End of the last complete record in its newest segment; 0/0 if none was found there. Of
  /// unfinished segments in a row it is the first that is not whole.
  wal::Lsn end;
  bool moved = false;  ///< a file got another name or form meanwhile: look again
};

/// Looks into the first and the last few of `segments`, which are all of one timeline in the order
/// of a listing. Raw files are entered in the middle, so only their ends are read; compressed ones
/// have to be read from their beginning. What is read is taken from `budget` (bytes of WAL); where
/// that is not sufficient, or the files are damaged or cannot be read, the answer stays open: this
/// is not a verification. `behind_holes`: where the archive continues after known holes, regardless
/// of how the segment before a hole ends. Does not throw Error.
[[nodiscard]] Ends read_ends(io::Shelf& directory, std::span<const archive::SegmentEntry> segments,
                             wal::SegmentSize size, const archive::Timelines& timelines,
                             std::uint64_t& budget, std::span<const wal::Lsn> behind_holes = {});

}  // namespace weir::status
