#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "recover/options.h"
#include "recover/report.h"
#include "recovery/backup.h"
#include "recovery/promise.h"

namespace weir::recover {

/// The backup that is recovered, and what the archives' WAL promises of it.
struct Choice {
  recovery::Backup backup;
  /// The backups on which an incremental one is based, the full one first.
  std::vector<recovery::Backup> upon{};
  recovery::Promise promise{};
  std::string no_promotion{};  ///< recovery::Way::no_promotion
  /// recovery_target_timeline: the timeline of the target if that is before the start of the newest
  /// one that the backup leads to.
  wal::TimelineId timeline = 1;
  wal::TimelineId newest_timeline = 1;
  wal::Lsn newest_begin{};  ///< where it starts
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size{};
  /// Directories with WAL in addition to the archives: the backup's own pg_wal, if they lack some.
  std::vector<std::string> more_wal{};
  std::vector<std::size_t> silent{};  ///< archives that do not answer; only of a standby
};

/// Chooses the newest backup that leads to the target. Reads WAL, and creates nothing. Returns
/// nullopt if there is none; the report says why, and why newer ones are unsuitable. Throws Error;
/// Error{retry} if it is stopped.
[[nodiscard]] std::optional<Choice> choose(const Options& options, Report& report);

/// Newest first: by end, or by start. Pure.
[[nodiscard]] std::vector<const Candidate*> newest_first(const std::vector<Candidate>& candidates);

/// Returns the backups on which the candidate is based, the full backup first, each in plain format
/// if it exists in both; nullopt if one of them is missing. Pure.
[[nodiscard]] std::optional<std::vector<const Candidate*>> builds_upon(
    const Candidate& candidate, const std::vector<Candidate>& candidates);

}  // namespace weir::recover
