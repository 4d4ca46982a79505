#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/transaction_end.h"
#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

using archive::Commit;
using archive::PgTime;

/// A moment in the WAL, between two commits.
struct Moment {
  wal::TimelineId timeline = 0;  ///< the history that was followed
  std::string segment;           ///< file in which the moment lies
  std::optional<Commit> before;  ///< the last commit that a recovery up to there contains
  std::optional<Commit> after;   ///< the first one that it does not
};

/// The place at which a recovery with this recovery_target_lsn would be, along `timeline`
/// (default: the archive's newest): `before` ends at or before it. nullopt if the archive has no
/// segment with it. Reads the segments needed, checking every record. Throws Error{damage, gap,
/// io}.
[[nodiscard]] std::optional<Moment> find_lsn(io::Directory& archive, wal::Lsn lsn,
                                             std::optional<wal::TimelineId> timeline);

/// Where a recovery with this recovery_target_time would stop: before the first commit or abort of
/// a later time. Found by halving the archive by the times in it, so it opens few segments; clocks
/// that were set back by more than a segment's time make that inexact. nullopt if the archive has
/// no commit at all. Without `before` the time lies before the archive's first commit, without
/// `after` behind its last.
[[nodiscard]] std::optional<Moment> find_time(io::Directory& archive, PgTime time,
                                              std::optional<wal::TimelineId> timeline);

}  // namespace weir::restore
