#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "archive/listing.h"
#include "base/error.h"
#include "restore/archives.h"
#include "restore/copy.h"
#include "restore/options.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// An unfinished segment, where it is sound to, and what comes behind.
struct Partial {
  Copy copy;
  wal::Lsn cut;                 ///< end of the last complete record; 0/0: there is none
  bool complete = false;        ///< sound up to the segment's end
  bool being_written = false;   ///< a receiver says that it writes at that place, or behind it
  std::optional<Error> damage;  ///< what ends it, if that is not its natural end
  wal::Lsn damaged_at;          ///< then where it was found
  wal::Lsn seen_to;             ///< and the last page behind it that is of this segment
  bool checked = true;          ///< false: of a server newer than this program knows
  wal::Lsn first_record;        ///< that begins in it, 0/0 if none does
  wal::Lsn previous_record;     ///< what that one says of the one before
};

/// The copy of the segment's `.partial` that is sound the farthest; nullopt if there is none. Zeros
/// behind the last record are its natural end, and so is a compressed stream that breaks off; WAL
/// behind a place that is not sound is not.
/// A file that is being written shows its end before its middle to who reads it meanwhile. So what
/// looks like damage is none between what the receiver says is durable and what it says is written;
/// elsewhere, or where no receiver can be asked, it is read again until it stays where it is.
/// Nothing that is sound is left out for a receiver's word: it may be about to receive again what
/// was acknowledged long ago.
/// Of several archives, one that is not sound to the end of what it holds counts only if it is the
/// farthest all the same; `others`, if given, gets all that were not chosen.
/// Throws Error{io}, Error{conflict, damage} for a first page of another cluster or size, and what
/// archive::is_gone() knows.
[[nodiscard]] std::optional<Partial> find_partial(Archives& archives, wal::SegmentName segment,
                                                  wal::SegmentSize size,
                                                  const AskReceiver& durable_end,
                                                  std::vector<Partial>* others = nullptr);

/// What is sound of one copy, be it finished or not, where zeros are no damage. Throws as above.
[[nodiscard]] Partial look_into(Archives& archives, const Copy& copy, wal::SegmentSize size);

/// Waits a moment for who may be writing the file; not if nobody has touched it for a while.
void wait_for_writer(io::Shelf& directory, const std::string& name);

}  // namespace weir::restore
