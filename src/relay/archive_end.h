#pragma once

#include <optional>

#include "archive/unfinished_break.h"
#include "base/error.h"
#include "io/directory.h"
#include "relay/served.h"

namespace weir::relay {

/// Determines the cluster of the archive's WAL, and its version from the pages' magic; nullopt as
/// long as there is no WAL. Throws Error{refused} for WAL of a server version newer than the
/// supported ones, Error{io, damage}.
[[nodiscard]] std::optional<Cluster> find_cluster(io::Directory& archive);

/// The part of an archive that is served: only complete segments, if another process writes and
/// does not report its flush position; otherwise everything.
enum class Counts { finished, everything };

/// The result of find_served().
struct FoundEnd : Served {
  /// After `end`, which is the end of the valid WAL.
  std::optional<archive::Break> broken = std::nullopt;
  /// Damage in the newest complete segment: clients that read it get an error.
  std::optional<Error> damage = std::nullopt;
  /// Complete segments after `end` are not valid, and were just written: they may still be being
  /// copied.
  bool being_copied = false;
};

/// Finds the position up to which the archive can be served, by its files alone: the end of the
/// last complete record of the newest timeline, or of its last complete segment, which may end
/// within a record. A timeline counts once it has more than the copy of its ancestor's WAL with
/// which it starts. The WAL found is flushed before this returns, regardless of its writer, so it
/// is durable (P10); the segments before `durable_before` are known to be. Returns nullopt if there
/// is no such WAL. Throws Error{io, conflict, durability}, Error{damage} for a broken history, and
/// Error{retry} if there are only segments that may still be being copied.
[[nodiscard]] std::optional<FoundEnd> find_served(
    io::Directory& archive, wal::SegmentSize size, Counts counts = Counts::everything,
    const std::optional<wal::SegmentName>& durable_before = std::nullopt);

/// The history of a timeline by its file; of one without a file it is the timeline alone. nullopt
/// if the file is broken. Throws Error{io}.
[[nodiscard]] std::optional<wal::TimelineHistory> history_of(io::Shelf& archive,
                                                             wal::TimelineId timeline);

}  // namespace weir::relay
