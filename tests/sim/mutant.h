#pragma once

#include <cstdint>
#include <span>

namespace weir::sim {

/// Faults put into the receiver and what is beside it (plant_mutants.py), to see whether the checks
/// find them. Those of restore are put into what calls it (recovery.cc).
enum class Mutant {
  none,
  data_sync_left_out,
  directory_sync_left_out,
  report_before_sync,
  report_past_undecided,
  write_reported_as_flush,
  end_not_made_durable,
  rename_before_sync,
  history_too_late,
  history_not_synced,
  compressed_not_synced,
  raw_removed_first,
  resume_at_newest_partial,
  old_timeline_skipped,
  gap_skipped,
  pruned_names_not_synced,
  pruned_from_the_newest,
  link_not_carried,
  tail_not_compared,
  cluster_not_checked,
  archive_not_locked,
  sync_tried_again,
  close_error_ignored,
  wal_not_checked,
  border_not_checked,
  damage_tolerated,
  status_waits_for_disk,
  reads_without_bound,
  discarding_left_out,
  dropped_acknowledged,
  stream_over_dropped,
  leaving_server_held,
  failed_stream_kept,
  damage_restored_as_absence,
  restored_unchecked,
  loss_recorded_too_late,
  loss_not_synced,
  lost_branch_not_told,
  order_before_ancestry,
  siblings_not_seen,
  does_not_stay,
  import_not_judged,
  import_not_synced,
  slot_moved_back,
  slot_moved_too_far,
  slot_ancestry_not_asked,
  slot_inside_a_record,
  served_as_written,
  served_without_sync,
  timeline_served_early,
  served_unchecked,
  served_border_unchecked,
  slot_xmin_forgotten,
  slot_ignored_by_prune,
  store_not_asked_again,
  unsent_ignored_by_prune,
  mark_over_what_failed,
  unreachable_is_absent,
  lost_answer_is_success,
  object_overwritten,
  confirmed_unsent,
  confirmed_behind_unsent,
  marked_untold,
  manifest_put_blindly,
  again_is_not_durable,
  not_looked_for_again,
  partial_object_removed,
  guardian_leaves_alone,
  wrong_size_not_recorded,
  difference_passed_over,
};

/// Lives of which kind: all of them, or those with what breaks a relay's promises: each process
/// serves, and at each end a file is spoiled; or those with a store; or those in which others read
/// the archive while a receiver is at work; or those in which the disk hangs often.
enum class World { any, relay, store, readers, stuck, imports };

struct MutantInfo {
  Mutant mutant;
  const char* promise;  ///< by which it has to be caught, "P1", or one of several, "P1 P3"
  const char* name;
  World world = World::any;  ///< in which it is looked for
  std::uint64_t first = 1;   ///< the seed to begin with: of a rare one, a seed that caught it
};

/// All but `none`, in the order of the promises.
[[nodiscard]] std::span<const MutantInfo> mutants();

}  // namespace weir::sim
