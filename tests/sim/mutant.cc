#include "mutant.h"

namespace weir::sim {

std::span<const MutantInfo> mutants() {
  static constexpr MutantInfo kMutants[] = {
      {Mutant::data_sync_left_out, "P1", "fdatasync left out"},
      {Mutant::directory_sync_left_out, "P1", "fsync of the directory left out"},
      {Mutant::report_before_sync, "P1", "reported when the sync begins"},
      {Mutant::report_past_undecided, "P1 P3", "reported past an older sync that is under way"},
      {Mutant::write_reported_as_flush, "P1", "write position reported as flush"},
      {Mutant::end_not_made_durable, "P1", "end of the archive not synced at the start"},
      {Mutant::rename_before_sync, "P2", "final name given before the sync"},
      {Mutant::history_too_late, "P2", "history stored after the first segment"},
      {Mutant::history_not_synced, "P2", "history not synced"},
      {Mutant::compressed_not_synced, "P2", "compressed file renamed without a sync"},
      {Mutant::import_not_judged, "P2", "import publishes what it found damaged"},
      {Mutant::import_not_synced, "P2", "imported segment renamed without a sync"},
      {Mutant::raw_removed_first, "P1", "raw file removed before the new name is durable"},
      {Mutant::resume_at_newest_partial, "P3", "goes on at the newest of two partials"},
      {Mutant::old_timeline_skipped, "P3", "end of the old timeline not fetched"},
      {Mutant::gap_skipped, "P3", "goes on behind removed WAL without a word"},
      {Mutant::pruned_names_not_synced, "P3", "prune without syncs between the segments"},
      {Mutant::pruned_from_the_newest, "P3", "prune removes the newest first"},
      {Mutant::link_not_carried, "P3", "link not carried over what an xlog switch leaves empty"},
      {Mutant::tail_not_compared, "P3 P1", "end of the archive not compared with the server's"},
      {Mutant::cluster_not_checked, "P4", "system identifier not compared"},
      {Mutant::archive_not_locked, "P5", "archive not locked"},
      {Mutant::sync_tried_again, "P6", "failed sync tried again"},
      {Mutant::close_error_ignored, "P6", "error of close ignored"},
      {Mutant::wal_not_checked, "P7", "WAL not checked while it comes in"},
      {Mutant::border_not_checked, "P7", "record over a segment's border not checked as one"},
      {Mutant::damage_tolerated, "P7", "damage told, and written all the same"},
      {Mutant::status_waits_for_disk, "P8", "no status while the disk is busy"},
      {Mutant::reads_without_bound, "P8", "reads on while the disk hangs"},
      {Mutant::dropped_acknowledged, "P1", "WAL that was dropped is acknowledged"},
      {Mutant::stream_over_dropped, "P3", "the stream goes on behind WAL that was dropped"},
      {Mutant::discarding_left_out, "P13", "nobody reads while the disk is stuck"},
      {Mutant::leaving_server_held, "P13", "a server that shuts down is answered for ever"},
      {Mutant::failed_stream_kept, "P8 P13", "a failed stream kept open while the spare hangs"},
      {Mutant::damage_restored_as_absence, "P9", "restore says \"not there\" for any failure"},
      {Mutant::restored_unchecked, "P9", "restore hands out what it has not checked"},
      {Mutant::loss_recorded_too_late, "P14", "loss recorded when streaming has begun behind it"},
      {Mutant::loss_not_synced, "P14", "record of a loss not synced"},
      {Mutant::lost_branch_not_told, "P14",
       "follows a fork behind the archive's end without a word"},
  };
  return kMutants;
}

}  // namespace weir::sim
