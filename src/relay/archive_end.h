#pragma once

#include <optional>
#include <string>

#include "archive/listing.h"
#include "io/directory.h"
#include "relay/served.h"

namespace weir::relay {

/// Whose WAL the archive holds, with the version by the pages' magic; nullopt as long as it holds
/// none. Throws Error{refused} for WAL of a server newer than we know, Error{io, damage}.
[[nodiscard]] std::optional<Cluster> find_cluster(io::Directory& archive);

/// What counts of an archive: beside somebody who writes, and does not say what is durable, only
/// what has its final name.
enum class Counts { finished, everything };

/// Up to where the archive can be served, by its files alone: the last complete record of the
/// newest timeline, or the last finished segment of it. A timeline counts once there is more of it
/// than the copy of its ancestor's WAL with which it begins. What is found is synced before this
/// returns, whoever wrote it, so it is durable (P10). nullopt if there is no such WAL. Throws
/// Error{io, damage, conflict, durability}.
[[nodiscard]] std::optional<Served> find_served(io::Directory& archive, wal::SegmentSize size,
                                                Counts counts = Counts::everything);

/// The history of a timeline by its file; of one without a file it is the timeline alone. nullopt
/// if the file is broken. Throws Error{io}.
[[nodiscard]] std::optional<wal::TimelineHistory> history_of(io::Shelf& archive,
                                                             wal::TimelineId timeline);

}  // namespace weir::relay
