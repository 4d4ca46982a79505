#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// Microseconds since 2000-01-01 00:00 UTC: PostgreSQL's TimestampTz, as commit records hold it.
struct PgTime {
  std::int64_t microseconds = 0;

  /// "2026-11-20 03:14", with seconds and fractions if wanted, a 'T' between, and a zone behind:
  /// "Z", "UTC", "+02", "+02:00", "+0200". Without one it is the local time of this process (TZ).
  /// nullopt for anything else.
  [[nodiscard]] static std::optional<PgTime> parse(std::string_view text);
  /// "2026-11-20 03:14:15.926535 UTC", which recovery_target_time understands, too.
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const PgTime&) const = default;
};

struct Commit {
  wal::Lsn start;  ///< of the commit record: the recovery_target_lsn that includes it
  wal::Lsn end;
  std::uint32_t transaction = 0;  ///< xid; 0: not known
  PgTime time;
  bool operator==(const Commit&) const = default;
};

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
