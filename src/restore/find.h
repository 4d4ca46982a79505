#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/losses.h"
#include "base/log.h"
#include "io/shelf.h"
#include "restore/options.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/transaction_end.h"

namespace weir::restore {

using wal::Commit;
using wal::PgTime;

/// WAL that is not in the archive, with other WAL behind it. No recovery gets over it.
struct Hole {
  wal::Lsn begin;  ///< end of the last sound record before it
  wal::Lsn end;
  wal::TimelineId next_timeline = 0;  ///< on which the archive goes on at `end`
};

/// A moment in the WAL, between two commits.
struct Moment {
  wal::TimelineId timeline = 0;  ///< the history that was followed
  std::string segment;           ///< file in which the moment lies
  std::optional<Commit> before;  ///< the last commit that a recovery up to there contains
  std::optional<Commit> after;   ///< the first one that it does not
  /// The first one behind `before`, unless `after` comes before it: what was committed in it nobody
  /// can know.
  std::optional<Hole> hole;
  bool in_hole = false;  ///< the position that was asked for lies in that hole
  /// A base backup has to begin here or later: there is a hole before it.
  std::optional<wal::Lsn> backup_from;
  // What restore_command has to say for a recovery up to `before`.
  bool needs_partial = false;
  bool needs_up_to_hole = false;
};

/// The place at which a recovery with this recovery_target_lsn would be, along `timeline`
/// (default: the archive's newest): `before` ends at or before it. In a hole it is the last one
/// before the hole. nullopt if the archive has no segment with it, and no hole either. Reads the
/// segments needed, checking every record; looks again when they change meanwhile. Of several
/// archives it is what all of them together have; one that does not answer, and a copy that is not
/// sound where another one is, are told to the log. Throws Error{damage, gap, io, retry}.
[[nodiscard]] std::optional<Moment> find_lsn(Shelves archives, wal::Lsn lsn,
                                             std::optional<wal::TimelineId> timeline,
                                             const AskReceiver& durable_end, Log& log);

/// Where a recovery with this recovery_target_time would stop: before the first commit or abort of
/// a later time. Found by halving the archive by the times in it, so it opens few segments; clocks
/// that were set back by more than a segment's time make that inexact. nullopt if the archive has
/// no commit at all. Without `before` the time lies before the archive's first commit, without
/// `after` behind its last, or behind the last one before a hole.
[[nodiscard]] std::optional<Moment> find_time(Shelves archives, PgTime time,
                                              std::optional<wal::TimelineId> timeline,
                                              const AskReceiver& durable_end, Log& log);

/// WAL that the archives have on branches which the way to the moment has left behind: a failover
/// lost it. Each once, whoever tells of it.
[[nodiscard]] std::vector<archive::Loss> lost_branches(Shelves archives, const Moment& moment,
                                                       Log& log);

/// Recorded WAL on the way to the moment's timeline that was written with wal_level=minimal: no
/// recovery passes it. By begin, each once.
[[nodiscard]] std::vector<archive::Loss> minimal_wal(Shelves archives, const Moment& moment,
                                                     Log& log);

}  // namespace weir::restore
