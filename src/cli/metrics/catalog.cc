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
    {"pgweir_build_info", false, "Always 1 (label version)."},
    {"pgweir_receiver_up", false,
     "1 while the receiver runs, 0 after it has ended. Remains 1 if it was killed: see "
     "pgweir_receiver_update_timestamp_seconds."},
    {"pgweir_receiver_update_timestamp_seconds", false, "Collection time of these values."},
    {"pgweir_receiver_start_time_seconds", false, "Start time of the receiver."},
    {"pgweir_receiver_state", false,
     "1 for the current state, 0 for the others (label state: starting, connecting, waiting, "
     "streaming, disk full, stopping, stopped)."},
    {"pgweir_receiver_state_since_timestamp_seconds", false, "Start of that state."},
    {"pgweir_receiver_timeline", false, "Timeline being streamed, or last streamed."},
    {"pgweir_receiver_write_lsn_bytes", false,
     "Write position: WAL written, not necessarily flushed."},
    {"pgweir_receiver_flush_lsn_bytes", false,
     "Flush position; does not go back if a reconnect receives WAL again."},
    {"pgweir_receiver_confirmed_lsn_bytes", false,
     "Position confirmed to the server with --confirm stored; 0: none."},
    {"pgweir_receiver_server_lsn_bytes", false, "End of the server's WAL; only while streaming."},
    {"pgweir_receiver_lag_bytes", false,
     "Server WAL not flushed in the archive; only while streaming."},
    {"pgweir_receiver_lag_seconds", false,
     "Age of the oldest such WAL, by the server's clock; only while streaming and if known. At "
     "least so old, if the server had it before the stream started."},
    {"pgweir_receiver_silence_seconds", false,
     "Time since the server's last message. An idle server sends messages, too."},
    {"pgweir_receiver_archived_bytes_total", kCounter,
     "WAL flushed, including WAL received again after a reconnect."},
    {"pgweir_receiver_segments_finished_total", kCounter,
     "Segments completed and renamed into place."},
    {"pgweir_receiver_sync_seconds", false,
     "Duration of the flushes of the last five minutes (label percentile: 50, 99, 100); absent "
     "without a flush. A synchronous commit waits for one flush."},
    {"pgweir_receiver_slow_syncs_total", kCounter, "Flushes that took longer than a second."},
    {"pgweir_receiver_streams_total", kCounter,
     "Streams started: the first, each reconnect, each timeline."},
    {"pgweir_receiver_errors_total", kCounter, "Failures of connection, server or archive."},
    {"pgweir_receiver_last_error_timestamp_seconds", false,
     "Time of the latest failure; absent if none."},
    {"pgweir_receiver_segments_to_compress", false,
     "Complete segments that are not compressed yet."},
    {"pgweir_receiver_holes", false, "Holes in the archive known to the receiver."},
    {"pgweir_receiver_lost_branches", false,
     "Branches of confirmed WAL that a failover abandoned."},
    {"pgweir_receiver_lost_branch_bytes", false, "WAL in them, which the archive has."},
    {"pgweir_receiver_minimal_wal", false,
     "Periods of wal_level = minimal, which no recovery can pass."},
    {"pgweir_receiver_losses_unacknowledged", false,
     "Losses not acknowledged with pgweir ack (label kind: hole, lost_branch, minimal_wal)."},
    {"pgweir_receiver_hole_bytes", false, "Missing WAL in them."},
    {"pgweir_receiver_disk_full", false, "1 while it waits for disk space."},
    {"pgweir_archive_free_bytes", false, "Disk space available to the receiver."},
    {"pgweir_archive_size_bytes", false, "Size of the archive's file system."},
    {"pgweir_slot_error", false,
     "1 while the slot monitoring reports a problem, or has failed for 10 minutes."},
    {"pgweir_slot_exists", false,
     "1 if the slot exists; requires --monitor-conninfo, or a database in -d."},
    {"pgweir_slot_active", false, "1 if a receiver is connected to it."},
    {"pgweir_slot_wal_status", false,
     "1 for the slot's wal_status, 0 for the others (label wal_status)."},
    {"pgweir_slot_safe_wal_bytes", false,
     "WAL until the slot is invalidated; absent without max_slot_wal_keep_size."},
    {"pgweir_slot_retained_bytes", false, "WAL that the server retains for the slot."},
    {"pgweir_slot_last_check_timestamp_seconds", false, "Last check of the slot."},
    {"pgweir_receiver_certificate_expiry_timestamp_seconds", false,
     "Expiry time of a certificate; absent without one (label certificate: client, server)."},
    {"pgweir_receiver_secrets_error", false,
     "1 while certificates or keys prevent new connections."},
    {"pgweir_receiver_candidate_covered", false,
     "1 if a failover to that host would leave no gap; all hosts of the connection string except "
     "the upstream."},
    {"pgweir_receiver_candidate_last_check_timestamp_seconds", false, "Last answer of that host."},
    // pgweir serve
    {"pgweir_serve_build_info", false, "Always 1 (label version)."},
    {"pgweir_serve_up", false,
     "1 while pgweir serve runs, 0 after it has ended. Remains 1 if it was killed: see "
     "pgweir_serve_update_timestamp_seconds."},
    {"pgweir_serve_update_timestamp_seconds", false, "Collection time of these values."},
    {"pgweir_serve_start_time_seconds", false, "Start time of pgweir serve."},
    // what serves: that, or the receiver
    {"pgweir_serve_timeline", false, "Timeline being served; absent without WAL."},
    {"pgweir_serve_end_lsn_bytes", false,
     "Position up to which WAL is served; absent without WAL."},
    {"pgweir_serve_error", false,
     "1 while the archive, or its newer WAL, is not served because of an error."},
    {"pgweir_serve_clients", false, "Clients that currently receive the archive's WAL."},
    {"pgweir_serve_client_streaming", false,
     "1 for a client that has caught up. If two clients have the same name and address, the one "
     "that lags behind counts, here and below."},
    {"pgweir_serve_client_sent_lsn_bytes", false, "Position up to which WAL was sent."},
    {"pgweir_serve_client_flush_lsn_bytes", false, "Client's flush position."},
    {"pgweir_serve_client_replay_lsn_bytes", false, "Client's replay position."},
    {"pgweir_serve_client_replay_lag_seconds", false,
     "Time from sending WAL to the client's report of its replay; absent if everything is "
     "replayed, or for a client that does not replay."},
    {"pgweir_serve_client_behind_bytes", false,
     "Served WAL that the client has not replayed (not flushed, if it does not replay); only while "
     "streaming."},
    {"pgweir_serve_client_encrypted", false, "1 over TLS."},
    {"pgweir_serve_certificate_expiry_timestamp_seconds", false,
     "Expiry time of the certificate presented to clients; absent without TLS."},
    {"pgweir_serve_slots", false,
     "Slots stored in the archive, except temporary ones. Absent, as the following, in a process "
     "that does not manage slots."},
    {"pgweir_serve_slot_active", false, "1 if a client uses the slot."},
    {"pgweir_serve_slot_lost", false,
     "1 if it retained more than --serve-max-slot-wal-keep-size: its client is rejected."},
    {"pgweir_serve_slot_retained_bytes", false,
     "WAL from its restart_lsn, which pgweir prune keeps."},
    {"pgweir_serve_slot_inactive_since_timestamp_seconds", false,
     "Unused since; absent while in use."},
    // pgweir receive --compare-with
    {"pgweir_compare_lsn_bytes", false, "Position up to which the archive was compared."},
    {"pgweir_compare_bytes_total", kCounter, "WAL compared."},
    {"pgweir_compare_differences_total", kCounter,
     "Segments that differ from the reference server."},
    {"pgweir_compare_error", false, "1 if the comparison is not possible, 0 otherwise."},
    // pgweir receive --store
    {"pgweir_store_pending_segments", false, "Complete segments not confirmed to be in the store."},
    {"pgweir_store_pending_bytes", false, "Size of the files to be uploaded."},
    {"pgweir_store_oldest_pending_seconds", false,
     "Time since the first of them was completed; 0: none."},
    {"pgweir_store_lsn_bytes", false,
     "Position up to which complete segments of the newest timeline are stored."},
    {"pgweir_store_open_lsn_bytes", false,
     "Position up to which the current segment is stored (--store-partial-interval)."},
    {"pgweir_store_sent_files_total", kCounter, "Files found in the store or uploaded."},
    {"pgweir_store_sent_bytes_total", kCounter, "Size of the uploaded files."},
    {"pgweir_store_failures_total", kCounter,
     "Failed requests and files (label reason: throttled, unreachable, refused, credentials, "
     "conflict, damage and others)."},
    {"pgweir_store_error", false, "1 while no upload succeeds, or a file cannot be uploaded."},
    {"pgweir_store_needs_person", false,
     "1 if manual intervention is required: permissions, a conflict."},
    {"pgweir_store_retry_in_seconds", false,
     "Time until the next retry; absent if there is no failure."},
    {"pgweir_store_last_success_timestamp_seconds", false, "Last successful request."},
    {"pgweir_store_sent_again_total", kCounter,
     "Segments uploaded again because they had disappeared."},
    {"pgweir_store_not_compared_total", kCounter,
     "Encrypted segments in the store that cannot be compared."},
    {"pgweir_store_manifest_lines", false, "Lines of the store's manifest."},
    {"pgweir_store_manifest_info", false,
     "Always 1 (labels chain, head, signed: yes, no); head is that of the last full object of 256 "
     "lines, for verify --expect-head."},
    {"pgweir_store_removed_segments_total", kCounter, "Segments removed by --local-retention."},
    // pgweir verify --metrics-file
    {"pgweir_verify_timestamp_seconds", false, "Last verification."},
    {"pgweir_verify_sound", false,
     "1 if recovery can use all WAL in the verified range, and neither a comparison nor the "
     "manifests of a store show a problem."},
    {"pgweir_verify_findings", false,
     "Findings (label kind: as in docs/verify.md), without accepted losses."},
    {"pgweir_verify_segments", false, "Segment files read."},
    {"pgweir_verify_wal_bytes", false, "WAL read."},
    {"pgweir_verify_records", false, "Records verified."},
    {"pgweir_verify_duration_seconds", false, "Duration."},
    // pgweir drill --metrics-file
    {"pgweir_drill_timestamp_seconds", false, "Last drill."},
    {"pgweir_drill_outcome", false,
     "1 for the result, 0 for the others (label outcome: recovered, failed, not tried)."},
    {"pgweir_drill_phase_seconds", false,
     "Duration of each phase (label phase: as in docs/drill.md)."},
    {"pgweir_drill_backup_bytes", false, "Size of the unpacked base backup."},
    {"pgweir_drill_wal_bytes", false, "WAL between the start of the backup and the target."},
    {"pgweir_drill_promised_lsn_bytes", false,
     "Position that can be reached with the archive's WAL."},
    {"pgweir_drill_reached_lsn_bytes", false, "Position that recovery has reached."},
    {"pgweir_drill_checks_not_held", false, "Failed checks of the recovered server."},
    // pgweir backup --metrics-file
    {"pgweir_backup_timestamp_seconds", false, "Last run."},
    {"pgweir_backup_status", false, "Exit status of the last run (docs/backup.md)."},
    {"pgweir_backup_duration_seconds", false,
     "Duration of the last run; absent if it made no backup."},
    {"pgweir_backup_backups", false, "Backups in the directory (label counts: yes, no)."},
    {"pgweir_backup_bytes", false,
     "Their size, of a plain one by its manifest (label counts: yes, no)."},
    {"pgweir_backup_newest_timestamp_seconds", false, "Start of the newest backup that counts."},
    {"pgweir_backup_newest_bytes", false, "Size of that backup."},
    {"pgweir_backup_newest_end_lsn_bytes", false, "Position at which it becomes consistent."},
    // pgweir status --metrics-file
    {"pgweir_status_timestamp_seconds", false, "Time when the archive was last listed."},
    {"pgweir_status_receiver_running", false, "1 if a receiver answered; not for a store alone."},
    {"pgweir_status_level", false,
     "Exit status of pgweir status --check: 0 OK, 1 warning, 2 critical, 3 unknown."},
    {"pgweir_status_segments", false, "Distinct complete segments (label timeline)."},
    {"pgweir_status_bytes", false,
     "Size of the complete files (label form: raw, zstd, gzip, lz4)."},
    {"pgweir_status_holes", false,
     "Holes that recovery would encounter, recorded or visible from file names."},
    {"pgweir_status_lost_branches", false, "As pgweir_receiver_lost_branches."},
    {"pgweir_status_minimal_wal", false, "As pgweir_receiver_minimal_wal, if recorded."},
    {"pgweir_status_losses_unacknowledged", false, "As pgweir_receiver_losses_unacknowledged."},
    {"pgweir_status_missing_segments", false, "Missing segments in the holes."},
    {"pgweir_status_damaged_files", false, "Files that could not be read during the check."},
    {"pgweir_status_free_bytes", false,
     "Disk space available to the archive; not for a store alone."},
    {"pgweir_status_last_check_timestamp_seconds", false,
     "Last recorded check (label check: verify, drill); absent if none, or if the verification of "
     "a part passed."},
    {"pgweir_status_last_check_passed", false, "1 if it passed (label check: verify, drill)."},
    {"pgweir_status_lag_bytes", false, "How far the archive lags behind the server, if known."},
};

}  // namespace

const metrics::Metric& metric_named(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kMetrics), std::end(kMetrics),
                                         [&](const auto& metric) { return metric.name == name; });
  PGWEIR_CHECK(found != std::end(kMetrics));
  return *found;
}

}  // namespace weir::cli
