#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/durable_end.h"
#include "base/log.h"
#include "io/directory.h"
#include "restore/request.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

using archive::DurableEnd;
using AskReceiver = archive::AskDurableEnd;

struct Options {
  bool verify = true;            ///< false: only the frame's checksum and the size
  bool partial = false;          ///< the .partial as the last resort
  bool partial_damaged = false;  ///< also one that is damaged before its end
  /// Everything up to the last sound record before the first hole on the way, and then the end of
  /// the recovery. Includes `partial`.
  bool up_to_hole = false;
  bool gap_is_absence = false;
  bool empty_is_absence = false;
  /// Of the cluster that is being recovered, nullopt if it is not known: then it is that of the
  /// archive's newest segment.
  std::optional<std::uint64_t> system_identifier;
  /// The server learns of no timelines that it has no history of: a recovery that is no standby's
  /// has chosen its target before it asks for WAL, and has that history in its pg_wal. So it goes
  /// to the end of a timeline whose descendants it does not know.
  bool target_is_chosen = false;
  /// A .partial is read up to there while it is being written; unset: nobody is asked.
  AskReceiver durable_end = nullptr;
};

/// "Surely not in the archive" is an answer. All else that is not success is an Error.
struct Result {
  bool restored = false;
  std::string why;  ///< of an absence
  /// Set if it was a finished segment.
  std::optional<wal::SegmentSize> segment_size = std::nullopt;
  bool prefetched = false;  ///< a helper had it ready
  std::string unfinished =
      {};  ///< an absent segment is there in this file, which was not asked for
};

/// Puts one file that recovery asks for under `target_name` into `target_directory`, checked while
/// it is written, and takes it back if it turns out to be wrong. If one form of a segment is
/// damaged and another is sound, the sound one is taken and the damage told to the log. One thread.
/// Throws Error{damage, conflict, gap, io, disk_full}: nothing stands under the name then.
[[nodiscard]] Result restore_file(io::Shelf& archive, const Request& request,
                                  io::Directory& target_directory, const std::string& target_name,
                                  const Options& options, Log& log);

}  // namespace weir::restore
