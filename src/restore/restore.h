#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "archive/durable_end.h"
#include "base/log.h"
#include "io/directory.h"
#include "restore/request.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

using archive::DurableEnd;
/// Asks the receiver that streams into the archive of this path, as archive::AskDurableEnd does.
using AskReceiver = std::function<std::optional<DurableEnd>(const std::string& archive)>;

/// Archives of one cluster, in the order in which they are asked. Not owned; one at least.
using Shelves = std::span<io::Shelf* const>;

struct Options {
  bool verify = true;            ///< false: only the frame's checksum and the size
  bool partial = false;          ///< the .partial as the last resort
  bool partial_damaged = false;  ///< also one that is damaged before its end
  /// Everything up to the last sound record before the first hole on the way, and then the end of
  /// the recovery. Includes `partial`.
  bool up_to_hole = false;
  bool gap_is_absence = false;
  bool empty_is_absence = false;
  /// Of several archives: the first sound copy is taken, and the others are not looked at.
  bool first_sound = false;
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
/// it is written, and takes it back if it turns out to be wrong. If one copy of a segment (a form
/// of it, or that of another archive) is damaged and another is sound, the sound one is taken and
/// the damage told to the log; two that are sound and differ are an error. An archive that cannot
/// be looked into is told to the log if another one has the file, and is an error if none has it.
/// One thread. Throws Error{damage, conflict, gap, io, disk_full}: nothing stands under the name
/// then.
[[nodiscard]] Result restore_file(Shelves archives, const Request& request,
                                  io::Directory& target_directory, const std::string& target_name,
                                  const Options& options, Log& log);
[[nodiscard]] inline Result restore_file(io::Shelf& archive, const Request& request,
                                         io::Directory& target_directory,
                                         const std::string& target_name, const Options& options,
                                         Log& log) {
  io::Shelf* const only = &archive;
  return restore_file(Shelves(&only, 1), request, target_directory, target_name, options, log);
}

}  // namespace weir::restore
