#pragma once

#include <optional>

#include "archive/unfinished_break.h"
#include "base/error.h"
#include "io/directory.h"
#include "relay/served.h"

namespace weir::relay {

/// Whose WAL the archive holds, with the version by the pages' magic; nullopt as long as it holds
/// none. Throws Error{refused} for WAL of a server newer than we know, Error{io, damage}.
[[nodiscard]] std::optional<Cluster> find_cluster(io::Directory& archive);

/// What counts of an archive: beside somebody who writes, and does not say what is durable, only
/// what has its final name.
enum class Counts { finished, everything };

/// What find_served() found.
struct FoundEnd : Served {
  /// Behind `end`, which is where the sound WAL ends.
  std::optional<archive::Break> broken = std::nullopt;
  /// Of the newest finished segment: who reads it gets an error.
  std::optional<Error> damage = std::nullopt;
};

/// Up to where the archive can be served, by its files alone: the last complete record of the
/// newest timeline, or the last finished segment of it. A timeline counts once there is more of it
/// than the copy of its ancestor's WAL with which it begins. What is found is synced before this
/// returns, whoever wrote it, so it is durable (P10). nullopt if there is no such WAL. Throws
/// Error{io, conflict, durability}, Error{damage} for a broken history, and Error{retry} as long as
/// the newest finished segment is not sound, and was written to just now: it may be on its way in.
[[nodiscard]] std::optional<FoundEnd> find_served(io::Directory& archive, wal::SegmentSize size,
                                                  Counts counts = Counts::everything);

/// The history of a timeline by its file; of one without a file it is the timeline alone. nullopt
/// if the file is broken. Throws Error{io}.
[[nodiscard]] std::optional<wal::TimelineHistory> history_of(io::Shelf& archive,
                                                             wal::TimelineId timeline);

}  // namespace weir::relay
