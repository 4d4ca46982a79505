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

/// WAL that is missing in the archive, followed by other WAL. No recovery can continue past it.
struct Hole {
  wal::Lsn begin;  ///< end of the last valid record before it
  wal::Lsn end;
  wal::TimelineId next_timeline = 0;  ///< on which the archive continues at `end`
};

/// A moment in the WAL, between two commits.
struct Moment {
  wal::TimelineId timeline = 0;  ///< the history that was followed
  /// Of `before`, which may be older: a server that is promoted before the timeline that it follows
  /// begins writes a history in which that timeline ends before it begins (StartupXLOG() gives
  /// recovery_target_timeline as the parent to writeTimeLineHistory()).
  wal::TimelineId target_timeline = 0;
  std::string segment;           ///< file that contains the moment
  std::optional<Commit> before;  ///< the last commit that a recovery up to there contains
  std::optional<Commit> after;   ///< the first one that it does not
  /// The first hole after `before`, unless `after` precedes it: which transactions committed in it
  /// is unknown.
  std::optional<Hole> hole;
  bool in_hole = false;  ///< the requested position is in that hole
  /// A base backup must start here or later: there is a hole before it.
  std::optional<wal::Lsn> backup_from;
  // The options that restore_command needs for a recovery up to `before`.
  bool needs_partial = false;
  bool needs_up_to_hole = false;
};

/// Returns the position of a recovery with this recovery_target_lsn, along `timeline` (default: the
/// archive's newest): `before` ends at or before it. In a hole it is the last position before the
/// hole. Returns nullopt if the archive has neither a segment nor a hole there. Reads the segments
/// needed, checking every record, and starts over if they change meanwhile. Several archives are
/// combined; an archive that does not respond, and a copy that is not valid while another one is,
/// are logged. Throws Error{damage, gap, io, retry}.
[[nodiscard]] std::optional<Moment> find_lsn(Shelves archives, wal::Lsn lsn,
                                             std::optional<wal::TimelineId> timeline,
                                             const AskReceiver& durable_end, Log& log);

/// Returns where a recovery with this recovery_target_time would stop: before the first commit or
/// abort with a later time. Found by bisecting the archive by its commit times, so few segments are
/// read; clocks that were set back by more than a segment's time make the result inexact. Returns
/// nullopt if the archive has no commit at all. `before` is unset if the time precedes the
/// archive's first commit; `after` is unset if it follows the last one, or the last one before a
/// hole.
[[nodiscard]] std::optional<Moment> find_time(Shelves archives, PgTime time,
                                              std::optional<wal::TimelineId> timeline,
                                              const AskReceiver& durable_end, Log& log);

/// Returns the WAL in the archives on branches that the history up to the moment abandoned: lost in
/// a failover. Each branch once, even if several archives report it.
[[nodiscard]] std::vector<archive::Loss> lost_branches(Shelves archives, const Moment& moment,
                                                       Log& log);

/// Recorded WAL on the history of the moment's timeline that was written with wal_level=minimal:
/// recovery cannot continue past it. Ordered by start, each once.
[[nodiscard]] std::vector<archive::Loss> minimal_wal(Shelves archives, const Moment& moment,
                                                     Log& log);

}  // namespace weir::restore
