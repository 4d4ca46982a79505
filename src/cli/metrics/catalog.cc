#include "cli/metrics/catalog.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace weir::cli {

namespace {

constexpr bool kCounter = true;

/// In the order of docs/metrics.md.
constexpr metrics::Metric kMetrics[] = {
    // the receiver
    {"pgweir_build_info", false, "Always 1; the version of the receiver is a label."},
    {"pgweir_receiver_up", false,
     "1 while the receiver runs, 0 in what it wrote when it ended. One that was killed leaves 1: "
     "see "
     "pgweir_receiver_update_timestamp_seconds."},
    {"pgweir_receiver_update_timestamp_seconds", false, "When these values were taken."},
    {"pgweir_receiver_start_time_seconds", false, "When the receiver began."},
    {"pgweir_receiver_state", false, "1 for the state the receiver is in, 0 for the others."},
    {"pgweir_receiver_state_since_timestamp_seconds", false, "When it came into that state."},
    {"pgweir_receiver_timeline", false, "The timeline that is or was last streamed."},
    {"pgweir_receiver_write_lsn_bytes", false,
     "Position up to which WAL was handed to the kernel."},
    {"pgweir_receiver_flush_lsn_bytes", false,
     "Position up to which WAL is durable in the archive; what a reconnect asks for again stays "
     "so."},
    {"pgweir_receiver_confirmed_lsn_bytes", false,
     "Position that the server was told, where it waits for the store (--confirm stored); 0: "
     "none."},
    {"pgweir_receiver_server_lsn_bytes", false, "The server's end; only while it streams."},
    {"pgweir_receiver_lag_bytes", false,
     "WAL the server has and that is not durable here; only while it streams."},
    {"pgweir_receiver_lag_seconds", false,
     "How old the oldest of it is, by the server's clock; only while it streams and that is "
     "known."},
    {"pgweir_receiver_silence_seconds", false,
     "How long ago the server was heard of. An idle server is heard of."},
    {"pgweir_receiver_archived_bytes_total", kCounter,
     "WAL made durable; what a reconnect asks for again counts again."},
    {"pgweir_receiver_segments_finished_total", kCounter, "Segments that got their final names."},
    {"pgweir_receiver_sync_seconds", false,
     "How long the syncs of the last five minutes took: the percentiles 50, 99 and 100 (the "
     "longest). "
     "Absent without a sync. A synchronous commit waits for one."},
    {"pgweir_receiver_slow_syncs_total", kCounter, "Syncs that took longer than a second."},
    {"pgweir_receiver_streams_total", kCounter,
     "Streams begun: the first, each reconnect, each timeline."},
    {"pgweir_receiver_errors_total", kCounter, "Failures of connection, server or archive."},
    {"pgweir_receiver_last_error_timestamp_seconds", false,
     "When the latest failure was; absent if none."},
    {"pgweir_receiver_segments_to_compress", false, "Finished segments that are still raw."},
    {"pgweir_receiver_holes", false, "Holes that the receiver knows of in the archive."},
    {"pgweir_receiver_lost_branches", false,
     "Branches of acknowledged WAL that the cluster's history has left behind."},
    {"pgweir_receiver_lost_branch_bytes", false, "WAL in them, which the archive has."},
    {"pgweir_receiver_minimal_wal", false,
     "Times of wal_level=minimal in the archived WAL, which no recovery can pass."},
    {"pgweir_receiver_losses_unacknowledged", false,
     "Losses of each kind that nobody has acknowledged with pgweir ack."},
    {"pgweir_receiver_hole_bytes", false, "WAL that is missing in them."},
    {"pgweir_receiver_disk_full", false, "1 while it waits for space."},
    {"pgweir_archive_free_bytes", false, "Space the receiver can still use."},
    {"pgweir_archive_size_bytes", false, "Size of the archive's file system."},
    {"pgweir_slot_error", false, "1 while the slot's watch complains, whatever it is."},
    {"pgweir_slot_exists", false,
     "1 if the slot exists. The slot is watched with --monitor-conninfo."},
    {"pgweir_slot_active", false, "1 if a receiver is connected to it."},
    {"pgweir_slot_wal_status", false, "1 for the slot's wal_status, 0 for the others."},
    {"pgweir_slot_safe_wal_bytes", false,
     "WAL that may still be written before the slot is lost; absent without "
     "max_slot_wal_keep_size."},
    {"pgweir_slot_retained_bytes", false, "WAL that the server keeps for the slot."},
    {"pgweir_slot_last_check_timestamp_seconds", false, "When the slot was looked at last."},
    {"pgweir_receiver_certificate_expiry_timestamp_seconds", false,
     "When the certificate expires that the receiver shows (client), or its server (server); "
     "absent without one."},
    {"pgweir_receiver_secrets_error", false,
     "1 while certificates or keys are such that no new connection could be made."},
    {"pgweir_receiver_candidate_covered", false,
     "1 if a failover to that host would leave no gap; hosts of the connection string but the one "
     "that streams, with --slot-hosts."},
    {"pgweir_receiver_candidate_last_check_timestamp_seconds", false,
     "When that host answered last."},
    // pgweir serve
    {"pgweir_serve_build_info", false, "Always 1; the version of pgweir serve is a label."},
    {"pgweir_serve_up", false,
     "1 while pgweir serve runs, 0 in what it wrote when it ended. One that was killed leaves 1: "
     "see pgweir_serve_update_timestamp_seconds."},
    {"pgweir_serve_update_timestamp_seconds", false, "When these values were taken."},
    {"pgweir_serve_start_time_seconds", false, "When pgweir serve began."},
    // what serves: that, or the receiver
    {"pgweir_serve_timeline", false, "The timeline that is served; absent without WAL."},
    {"pgweir_serve_end_lsn_bytes", false,
     "Position up to which WAL is served; absent without WAL."},
    {"pgweir_serve_clients", false, "Clients that are served the archive's WAL now."},
    {"pgweir_serve_client_streaming", false,
     "1 for a client that has caught up and streams. Of two with the same name and address the "
     "one that is behind counts, here and below."},
    {"pgweir_serve_client_sent_lsn_bytes", false, "Position up to which WAL was sent to it."},
    {"pgweir_serve_client_flush_lsn_bytes", false, "Position up to which it is durable there."},
    {"pgweir_serve_client_replay_lsn_bytes", false, "Position up to which it is replayed there."},
    {"pgweir_serve_client_replay_lag_seconds", false,
     "From when WAL was sent to when the client said that it is replayed; absent when all is, or "
     "where it replays nothing."},
    {"pgweir_serve_client_behind_bytes", false,
     "WAL that is served, and that it has not replayed, or, of one that replays nothing, not "
     "flushed; only while it streams."},
    {"pgweir_serve_client_encrypted", false, "1 if its connection is under TLS."},
    {"pgweir_serve_certificate_expiry_timestamp_seconds", false,
     "When the certificate expires that clients are shown; absent without TLS."},
    {"pgweir_serve_slots", false,
     "Replication slots that are kept beside the archive, temporary ones not counted; absent in a "
     "process that does not have them, as all of the following."},
    {"pgweir_serve_slot_active", false, "1 if a client uses the slot."},
    {"pgweir_serve_slot_lost", false,
     "1 if it held back more than --serve-max-slot-wal-keep-size: its client is refused."},
    {"pgweir_serve_slot_retained_bytes", false,
     "WAL from its restart_lsn to the end: pgweir prune leaves it."},
    {"pgweir_serve_slot_inactive_since_timestamp_seconds", false,
     "Since when nobody uses it; absent while somebody does."},
    // pgweir receive --compare-with
    {"pgweir_compare_lsn_bytes", false,
     "Position up to which the archive was compared with the second upstream."},
    {"pgweir_compare_bytes_total", kCounter, "WAL that was compared."},
    {"pgweir_compare_differences_total", kCounter,
     "Segments in which the second upstream has other WAL than the archive."},
    {"pgweir_compare_error", false, "1 if the second upstream cannot be compared, 0 if it is."},
    // pgweir receive --store
    {"pgweir_store_pending_segments", false,
     "Finished segments that are not surely in the object store."},
    {"pgweir_store_pending_bytes", false, "Size of the files that are to be sent."},
    {"pgweir_store_oldest_pending_seconds", false,
     "How long ago the first of them was finished; 0 if there is none."},
    {"pgweir_store_lsn_bytes", false,
     "Position up to which the newest timeline's finished segments are there."},
    {"pgweir_store_open_lsn_bytes", false,
     "Position up to which the open segment is there (--store-partial-interval)."},
    {"pgweir_store_sent_files_total", kCounter,
     "Segments and histories that were found or put there."},
    {"pgweir_store_sent_bytes_total", kCounter, "Size of those that were put there."},
    {"pgweir_store_failures_total", kCounter,
     "Requests that failed, and files that could not be sent, by reason."},
    {"pgweir_store_error", false,
     "1 while nothing gets through, or a file cannot be sent; 0 if all is well."},
    {"pgweir_store_needs_person", false, "1 if that does not pass by itself: rights, a conflict."},
    {"pgweir_store_retry_in_seconds", false, "When it is tried again; absent if all is well."},
    {"pgweir_store_last_success_timestamp_seconds", false,
     "When the store last did what was asked."},
    {"pgweir_store_sent_again_total", kCounter,
     "Segments that were sent, were gone from the store, and were sent again."},
    {"pgweir_store_not_compared_total", kCounter,
     "Segments that were there, encrypted, and that nobody here can compare."},
    {"pgweir_store_manifest_lines", false, "Lines of the manifest of what is in the store."},
    {"pgweir_store_manifest_info", false,
     "1; labels: chain, head (as of the last 256 lines that are full), signed."},
    {"pgweir_store_removed_segments_total", kCounter,
     "Segments that --local-retention has removed from the archive."},
    // pgweir verify --metrics-file
    {"pgweir_verify_timestamp_seconds", false, "When the archive was verified last."},
    {"pgweir_verify_sound", false, "1 if a recovery over what was verified finds everything."},
    {"pgweir_verify_findings", false, "What was found, by kind; accepted losses are not counted."},
    {"pgweir_verify_segments", false, "Segment files that were read."},
    {"pgweir_verify_wal_bytes", false, "WAL that was read."},
    {"pgweir_verify_records", false, "Records whose checksums were computed."},
    {"pgweir_verify_duration_seconds", false, "How long that took."},
    // pgweir drill --metrics-file
    {"pgweir_drill_timestamp_seconds", false, "When the last drill was made."},
    {"pgweir_drill_outcome", false, "1 for what came of it, 0 for the others."},
    {"pgweir_drill_phase_seconds", false, "How long each part of it took."},
    {"pgweir_drill_backup_bytes", false, "Size of the base backup, unpacked."},
    {"pgweir_drill_wal_bytes", false, "WAL between the backup's begin and the target."},
    {"pgweir_drill_promised_lsn_bytes", false, "Position to which the archive's WAL leads."},
    {"pgweir_drill_reached_lsn_bytes", false, "Position that the recovery has reached."},
    {"pgweir_drill_checks_not_held", false, "Checks of the recovered server that failed."},
    // pgweir backup --metrics-file
    {"pgweir_backup_timestamp_seconds", false, "Time of the last run."},
    {"pgweir_backup_status", false, "Exit status of the last run."},
    {"pgweir_backup_duration_seconds", false, "Duration of the last run, up to the backup's name."},
    {"pgweir_backup_backups", false, "Backups in the directory, by whether they count."},
    {"pgweir_backup_bytes", false, "Size of these backups."},
    {"pgweir_backup_newest_timestamp_seconds", false, "Start of the newest backup that counts."},
    {"pgweir_backup_newest_bytes", false, "Size of that backup."},
    {"pgweir_backup_newest_end_lsn_bytes", false, "Position at which it becomes consistent."},
    // pgweir status --metrics-file
    {"pgweir_status_timestamp_seconds", false, "When the archive was listed last."},
    {"pgweir_status_receiver_running", false, "1 if a receiver answered."},
    {"pgweir_status_level", false,
     "Exit status of pgweir status --check: 0 OK, 1 warning, 2 critical, 3 unknown."},
    {"pgweir_status_segments", false, "Different finished segments, by timeline."},
    {"pgweir_status_bytes", false, "Size of the finished files, by form."},
    {"pgweir_status_holes", false,
     "Holes that a recovery would meet, by records and by the names of the files."},
    {"pgweir_status_lost_branches", false,
     "Branches of acknowledged WAL that the cluster's history has left behind."},
    {"pgweir_status_minimal_wal", false,
     "Recorded times of wal_level=minimal in the archived WAL, which no recovery can pass."},
    {"pgweir_status_losses_unacknowledged", false,
     "Losses of each kind that nobody has acknowledged with pgweir ack."},
    {"pgweir_status_missing_segments", false, "Segments that are missing in them."},
    {"pgweir_status_damaged_files", false, "Files that could not be read while looking."},
    {"pgweir_status_free_bytes", false, "Space that is left for the archive."},
    {"pgweir_status_last_check_timestamp_seconds", false,
     "Time of the last recorded verification or drill."},
    {"pgweir_status_last_check_passed", false, "1 if it passed."},
    {"pgweir_status_lag_bytes", false,
     "How far the archive is behind the server, if that is known."},
};

}  // namespace

const metrics::Metric& metric_named(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kMetrics), std::end(kMetrics),
                                         [&](const auto& metric) { return metric.name == name; });
  PGWEIR_CHECK(found != std::end(kMetrics));
  return *found;
}

}  // namespace weir::cli
