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

/// A partial segment, the end of its valid part, and what follows.
struct Partial {
  Copy copy;
  wal::Lsn cut;                 ///< end of the last complete record; 0/0: there is none
  bool complete = false;        ///< valid up to the segment's end
  bool being_written = false;   ///< a receiver is writing at that position, or after it
  std::optional<Error> damage;  ///< what ends it, if that is not its natural end
  wal::Lsn damaged_at;          ///< then where it was found
  wal::Lsn written_to;          ///< and up to where at least WAL had been written
  bool checked = true;          ///< false: of a server newer than this program knows
  wal::Lsn first_record;        ///< that starts in it, 0/0 if there is none
  wal::Lsn previous_record;     ///< the prev-link of that one
};

/// Returns the copy of the segment's `.partial` that is valid the furthest; nullopt if there is
/// none. Zeros after the last record are its natural end, and so are a record that was only partly
/// received, and a compressed stream that is cut off. An invalid place with more WAL after it is
/// not (wal::UnfinishedReader, as in `verify`), nor one before the receiver's flush position. A
/// concurrent reader may see the end of a file before its middle. Apparent damage between the
/// receiver's flush and write positions is therefore ignored; elsewhere, or if no receiver can be
/// queried, the file is read again until the damage stays where it is. Valid WAL beyond the
/// receiver's positions is included: the receiver may be about to receive again WAL that was
/// confirmed long ago. With several archives, a copy that is not valid to its end is chosen only if
/// it is still the furthest; `others`, if given, gets all copies that were not chosen. Throws
/// Error{io}, Error{conflict, damage} for a first page of another cluster or size, and the errors
/// of archive::is_gone().
[[nodiscard]] std::optional<Partial> find_partial(Archives& archives, wal::SegmentName segment,
                                                  wal::SegmentSize size,
                                                  const AskReceiver& durable_end,
                                                  std::vector<Partial>* others = nullptr);

/// The valid part of one copy, complete or not; zeros do not count as damage. Throws as above.
[[nodiscard]] Partial look_into(Archives& archives, const Copy& copy, wal::SegmentSize size);

/// That of the segment's complete copy that is valid the furthest; nullopt if there is none whose
/// first page can be read. Throws likewise, but not Error{damage}.
[[nodiscard]] std::optional<Partial> find_front(Archives& archives, wal::SegmentName segment,
                                                wal::SegmentSize size);

/// Waits briefly for a process that may be writing the file; not if the file has been unchanged for
/// a while.
void wait_for_writer(io::Shelf& directory, const std::string& name);

}  // namespace weir::restore
