#pragma once

namespace weir::sim {

/// Faults put into the receiver or between it and its disk, to see whether the checks find them.
enum class Mutant {
  none,
  data_sync_left_out,       ///< File::sync() does nothing
  directory_sync_left_out,  ///< Directory::sync() does nothing
  rename_before_sync,       ///< a segment gets its final name before its data is synced
  report_before_sync,       ///< a sync counts as done when it begins
  report_past_undecided,    ///< a sync that ended counts for all that began before it
  history_too_late,         ///< a timeline's history is stored when streaming on it has ended
  history_not_synced,       ///< …or in time, but nothing of it is synced
  sync_tried_again,         ///< a sync that failed is repeated, and the second result believed
  resume_at_newest_partial,
  old_timeline_skipped,  ///< goes on at the switchpoint without the rest of the old timeline
  gap_skipped,           ///< goes on at what the server still has, without a word
  write_reported_as_flush,
  mutants_end,
};

[[nodiscard]] const char* to_string(Mutant mutant);

}  // namespace weir::sim
