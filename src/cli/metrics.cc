#include "cli/metrics.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "base/error.h"

namespace weir::cli {

namespace {

using metrics::Family;
using metrics::Metric;

constexpr bool kCounter = true;

constexpr Metric kMetrics[] = {
    // the receiver
    {"pgweir_build_info", false, "Always 1; the version of the receiver is a label."},
    {"pgweir_receiver_up", false,
     "1 while the receiver runs, 0 in what it wrote when it ended. One that was killed leaves 1: "
     "see "
     "pgweir_receiver_update_time_seconds."},
    {"pgweir_receiver_update_time_seconds", false, "When these values were taken."},
    {"pgweir_receiver_start_time_seconds", false, "When the receiver began."},
    {"pgweir_receiver_state", false, "1 for the state the receiver is in, 0 for the others."},
    {"pgweir_receiver_state_since_time_seconds", false, "When it came into that state."},
    {"pgweir_receiver_timeline", false, "The timeline that is or was last streamed."},
    {"pgweir_receiver_write_lsn_bytes", false,
     "Position up to which WAL was handed to the kernel."},
    {"pgweir_receiver_flush_lsn_bytes", false,
     "Position up to which WAL is durable in the archive: what is acknowledged."},
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
    {"pgweir_receiver_last_error_time_seconds", false,
     "When the latest failure was; absent if none."},
    {"pgweir_receiver_segments_to_compress", false, "Finished segments that are still raw."},
    {"pgweir_receiver_holes", false, "Holes that the receiver knows of in the archive."},
    {"pgweir_receiver_lost_branches", false,
     "Branches of acknowledged WAL that the cluster's history has left behind."},
    {"pgweir_receiver_lost_branch_bytes", false, "WAL in them, which the archive has."},
    {"pgweir_receiver_losses_unacknowledged", false,
     "Holes and lost branches that nobody has acknowledged with pgweir ack."},
    {"pgweir_receiver_hole_bytes", false, "WAL that is missing in them."},
    {"pgweir_receiver_disk_full", false, "1 while it waits for space."},
    {"pgweir_archive_free_bytes", false, "Space the receiver can still use."},
    {"pgweir_archive_size_bytes", false, "Size of the archive's file system."},
    {"pgweir_slot_trouble", false, "1 while the slot's watch complains, whatever it is."},
    {"pgweir_slot_exists", false,
     "1 if the slot exists. The slot is watched with --monitor-conninfo."},
    {"pgweir_slot_active", false, "1 if a receiver is connected to it."},
    {"pgweir_slot_wal_status", false, "1 for the slot's wal_status, 0 for the others."},
    {"pgweir_slot_safe_wal_bytes", false,
     "WAL that may still be written before the slot is lost; absent without "
     "max_slot_wal_keep_size."},
    {"pgweir_slot_retained_bytes", false, "WAL that the server keeps for the slot."},
    {"pgweir_slot_look_time_seconds", false, "When the slot was looked at last."},
    {"pgweir_receiver_certificate_expiry_time_seconds", false,
     "When the certificate expires that the receiver shows (client), or its server (server); "
     "absent without one."},
    {"pgweir_receiver_secrets_trouble", false,
     "1 while certificates or keys are such that no new connection could be made."},
    {"pgweir_receiver_candidate_covered", false,
     "1 if a failover to that host would leave no gap; hosts of the connection string but the one "
     "that streams, with --slot-on."},
    {"pgweir_receiver_candidate_look_time_seconds", false, "When that host answered last."},
    // pgweir serve
    {"pgweir_serve_build_info", false, "Always 1; the version of pgweir serve is a label."},
    {"pgweir_serve_up", false,
     "1 while pgweir serve runs, 0 in what it wrote when it ended. One that was killed leaves 1: "
     "see pgweir_serve_update_time_seconds."},
    {"pgweir_serve_update_time_seconds", false, "When these values were taken."},
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
    {"pgweir_serve_certificate_expiry_time_seconds", false,
     "When the certificate expires that clients are shown; absent without TLS."},
    {"pgweir_serve_slots", false,
     "Replication slots that are kept beside the archive, temporary ones not counted; absent in a "
     "process that does not have them, as all of the following."},
    {"pgweir_serve_slot_active", false, "1 if a client uses the slot."},
    {"pgweir_serve_slot_lost", false,
     "1 if it held back more than --serve-slot-keep: its client is refused."},
    {"pgweir_serve_slot_retained_bytes", false,
     "WAL from its restart_lsn to the end: pgweir prune leaves it."},
    {"pgweir_serve_slot_inactive_since_time_seconds", false,
     "Since when nobody uses it; absent while somebody does."},
    // pgweir receive --compare-with
    {"pgweir_compare_lsn_bytes", false,
     "Position up to which the archive was compared with the second upstream."},
    {"pgweir_compare_bytes_total", kCounter, "WAL that was compared."},
    {"pgweir_compare_differences_total", kCounter,
     "Segments in which the second upstream has other WAL than the archive."},
    {"pgweir_compare_trouble", false, "1 if the second upstream cannot be compared, 0 if it is."},
    // pgweir receive --store
    {"pgweir_store_pending_segments", false,
     "Finished segments that are not surely in the object store."},
    {"pgweir_store_pending_bytes", false, "Size of the files that are to be sent."},
    {"pgweir_store_oldest_pending_seconds", false,
     "How long ago the first of them was finished; 0 if there is none."},
    {"pgweir_store_lsn_bytes", false,
     "Position up to which the newest timeline's finished segments are there."},
    {"pgweir_store_open_lsn_bytes", false,
     "Position up to which the open segment is there (--store-open)."},
    {"pgweir_store_sent_files_total", kCounter,
     "Segments and histories that were found or put there."},
    {"pgweir_store_sent_bytes_total", kCounter, "Size of those that were put there."},
    {"pgweir_store_failures_total", kCounter,
     "Requests that failed, and files that could not be sent, by reason."},
    {"pgweir_store_trouble", false,
     "1 while nothing gets through, or a file cannot be sent; 0 if all is well."},
    {"pgweir_store_needs_person", false, "1 if that does not pass by itself: rights, a conflict."},
    {"pgweir_store_retry_in_seconds", false, "When it is tried again; absent if all is well."},
    {"pgweir_store_last_success_time_seconds", false, "When the store last did what was asked."},
    {"pgweir_store_sent_again_total", kCounter,
     "Segments that were sent, were gone from the store, and were sent again."},
    {"pgweir_store_not_compared_total", kCounter,
     "Segments that were there, encrypted, and that nobody here can compare."},
    {"pgweir_store_manifest_lines", false, "Lines of the manifest of what is in the store."},
    {"pgweir_store_manifest_info", false,
     "1; labels: chain, head (as of the last 256 lines that are full), signed."},
    {"pgweir_store_removed_segments_total", kCounter,
     "Segments that --keep-local has removed from the archive."},
    // pgweir verify --metrics-file
    {"pgweir_verify_time_seconds", false, "When the archive was verified last."},
    {"pgweir_verify_sound", false, "1 if a recovery over what was verified finds everything."},
    {"pgweir_verify_findings", false, "What was found, by kind; accepted losses are not counted."},
    {"pgweir_verify_segments", false, "Segment files that were read."},
    {"pgweir_verify_wal_bytes", false, "WAL that was read."},
    {"pgweir_verify_records", false, "Records whose checksums were computed."},
    {"pgweir_verify_duration_seconds", false, "How long that took."},
    // pgweir drill --metrics-file
    {"pgweir_drill_time_seconds", false, "When the last drill was made."},
    {"pgweir_drill_outcome", false, "1 for what came of it, 0 for the others."},
    {"pgweir_drill_phase_seconds", false, "How long each part of it took."},
    {"pgweir_drill_backup_bytes", false, "Size of the base backup, unpacked."},
    {"pgweir_drill_wal_bytes", false, "WAL between the backup's begin and the target."},
    {"pgweir_drill_promised_lsn_bytes", false, "Position to which the archive's WAL leads."},
    {"pgweir_drill_reached_lsn_bytes", false, "Position that the recovery has reached."},
    {"pgweir_drill_checks_not_held", false, "Checks of the recovered server that did not hold."},
    // pgweir status --metrics-file
    {"pgweir_status_time_seconds", false, "When the archive was listed last."},
    {"pgweir_status_receiver_running", false, "1 if a receiver answered."},
    {"pgweir_status_level", false,
     "Exit status of pgweir status --check: 0 OK, 1 warning, 2 critical, 3 unknown."},
    {"pgweir_status_segments", false, "Different finished segments, by timeline."},
    {"pgweir_status_bytes", false, "Size of the finished files, by form."},
    {"pgweir_status_holes", false,
     "Holes that a recovery would meet, by records and by the names of the files."},
    {"pgweir_status_lost_branches", false,
     "Branches of acknowledged WAL that the cluster's history has left behind."},
    {"pgweir_status_losses_unacknowledged", false,
     "Holes and lost branches that nobody has acknowledged with pgweir ack."},
    {"pgweir_status_missing_segments", false, "Segments that are missing in them."},
    {"pgweir_status_damaged_files", false, "Files that could not be read while looking."},
    {"pgweir_status_free_bytes", false, "Space that is left for the archive."},
    {"pgweir_status_lag_bytes", false,
     "How far the archive is behind the server, if that is known."},
};

/// Collects families with the labels that all samples share.
class Collection {
 public:
  explicit Collection(std::vector<std::pair<std::string, std::string>> labels)
      : labels_(std::move(labels)) {}

  void add(std::string_view name, double value,
           std::vector<std::pair<std::string, std::string>> more = {}) {
    auto labels = labels_;
    labels.insert(labels.end(), more.begin(), more.end());
    const auto known = std::find_if(families_.begin(), families_.end(), [&](const Family& family) {
      return family.metric.name == name;
    });
    auto& family = known != families_.end() ? *known : fresh(name);
    family.samples.push_back({std::move(labels), value});
  }
  template <typename Integer>
  void add_count(std::string_view name, Integer value,
                 std::vector<std::pair<std::string, std::string>> more = {}) {
    add(name, static_cast<double>(value), std::move(more));
  }
  void add_time(std::string_view name, SystemTime time,
                std::vector<std::pair<std::string, std::string>> more = {}) {
    add(name,
        static_cast<double>(
            std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch())
                .count()) /
            1000,
        std::move(more));
  }
  std::vector<Family> take() { return std::move(families_); }

 private:
  Family& fresh(std::string_view name) {
    const auto found = std::find_if(std::begin(kMetrics), std::end(kMetrics),
                                    [&](const Metric& metric) { return metric.name == name; });
    PGWEIR_CHECK(found != std::end(kMetrics));
    return families_.emplace_back(Family{*found, {}});
  }
  std::vector<std::pair<std::string, std::string>> labels_;
  std::vector<Family> families_;
};

const char* form_name(codec::Method method) {
  switch (method) {
    case codec::Method::none:
      return "raw";
    case codec::Method::zstd:
      return "zstd";
    case codec::Method::gzip:
      return "gzip";
    case codec::Method::lz4:
      return "lz4";
  }
  return "raw";
}

double seconds(std::chrono::milliseconds time) { return static_cast<double>(time.count()) / 1000; }

void add_choice(Collection& to, std::string_view name, const std::string& label,
                std::initializer_list<std::string_view> choices, std::string_view now,
                const std::vector<std::pair<std::string, std::string>>& more = {}) {
  bool known = false;
  for (const auto choice : choices) {
    auto labels = more;
    labels.emplace_back(label, choice);
    known |= choice == now;
    to.add(name, choice == now ? 1 : 0, std::move(labels));
  }
  if (known || now.empty()) return;
  auto labels = more;
  labels.emplace_back(label, now);
  to.add(name, 1, std::move(labels));
}

void add_stream(Collection& to, const receive::StatusBoard::View& view,
                const ReceiverExtras& extras) {
  if (const auto& last = view.stream ? view.stream : view.content.last_stream) {
    to.add("pgweir_receiver_timeline", last->timeline);
    to.add_count("pgweir_receiver_write_lsn_bytes", last->write.byte());
    to.add_count("pgweir_receiver_flush_lsn_bytes", last->flush.byte());
    if (last->confirmed)
      to.add_count("pgweir_receiver_confirmed_lsn_bytes", last->confirmed->byte());
  }
  if (view.stream) {
    const auto& stream = *view.stream;
    to.add_count("pgweir_receiver_server_lsn_bytes", stream.server_end.byte());
    to.add_count("pgweir_receiver_lag_bytes",
                 stream.server_end > stream.flush ? stream.server_end - stream.flush : 0);
    if (extras.lag_time) to.add("pgweir_receiver_lag_seconds", seconds(*extras.lag_time));
  }
  to.add("pgweir_receiver_silence_seconds", seconds(view.silence));
}

/// Of two clients of the same name and address the one that is behind counts.
void add_clients(Collection& to, const archive::ServingView& view) {
  const auto& clients = view.clients;
  to.add_count("pgweir_serve_clients", clients.size());
  std::map<std::pair<std::string, std::string>, const archive::DownstreamClient*> named;
  for (const auto& client : clients) {
    auto& known = named[{client.application_name, client.client_address}];
    if (known == nullptr || client.flush < known->flush) known = &client;
  }
  for (const auto& [name, client] : named) {
    const std::vector<std::pair<std::string, std::string>> labels = {
        {"application_name", name.first}, {"client_addr", name.second}};
    to.add("pgweir_serve_client_streaming", client->state == "streaming" ? 1 : 0, labels);
    to.add_count("pgweir_serve_client_sent_lsn_bytes", client->sent.byte(), labels);
    to.add_count("pgweir_serve_client_flush_lsn_bytes", client->flush.byte(), labels);
    to.add_count("pgweir_serve_client_replay_lsn_bytes", client->replay.byte(), labels);
    to.add("pgweir_serve_client_encrypted", client->ssl ? 1 : 0, labels);
    if (view.end)
      if (const auto behind = archive::bytes_behind(*client, view.end->flush))
        to.add_count("pgweir_serve_client_behind_bytes", *behind, labels);
    if (client->replay_lag)
      to.add("pgweir_serve_client_replay_lag_seconds",
             std::chrono::duration<double>(*client->replay_lag).count(), labels);
  }
}

void add_slots(Collection& to, const std::vector<archive::ServedSlot>& slots) {
  to.add_count(
      "pgweir_serve_slots",
      std::count_if(slots.begin(), slots.end(), [](const auto& slot) { return !slot.temporary; }));
  for (const auto& slot : slots) {
    if (slot.temporary) continue;  // gone with its session
    const std::vector<std::pair<std::string, std::string>> labels = {{"slot", slot.kept.name}};
    to.add("pgweir_serve_slot_active", slot.active_pid ? 1 : 0, labels);
    to.add("pgweir_serve_slot_lost", slot.kept.lost ? 1 : 0, labels);
    to.add_count("pgweir_serve_slot_retained_bytes", slot.retained, labels);
    if (const auto since = wal::PgTime::parse(slot.kept.inactive_since); since && !slot.active_pid)
      to.add_time("pgweir_serve_slot_inactive_since_time_seconds", since->system_time(), labels);
  }
}

void add_serving(Collection& to, const archive::ServingView& view) {
  if (view.end) {
    to.add("pgweir_serve_timeline", view.end->timeline);
    to.add_count("pgweir_serve_end_lsn_bytes", view.end->flush.byte());
  }
  add_clients(to, view);
  if (view.certificate)
    to.add_time("pgweir_serve_certificate_expiry_time_seconds", view.certificate->expires);
  if (view.slots) add_slots(to, *view.slots);
}

void add_comparison(Collection& to, const receive::StatusBoard::Content& content) {
  if (!content.comparison) return;
  const auto& comparison = *content.comparison;
  to.add_count("pgweir_compare_lsn_bytes", comparison.position.byte());
  to.add_count("pgweir_compare_bytes_total", comparison.bytes);
  to.add_count("pgweir_compare_differences_total", comparison.differences);
  to.add("pgweir_compare_trouble", comparison.problem.empty() ? 0 : 1);
}

void add_store(Collection& to, const store::StoreView& view, SystemTime now) {
  const auto since = [&](SystemTime time) {
    return std::max(0.0, std::chrono::duration<double>(now - time).count());
  };
  to.add_count("pgweir_store_pending_segments", view.pending_segments);
  to.add_count("pgweir_store_pending_bytes", view.pending_bytes);
  to.add("pgweir_store_oldest_pending_seconds",
         view.pending_since ? since(*view.pending_since) : 0);
  if (view.sent_lsn) to.add_count("pgweir_store_lsn_bytes", view.sent_lsn->byte());
  if (view.open_lsn) to.add_count("pgweir_store_open_lsn_bytes", view.open_lsn->byte());
  to.add_count("pgweir_store_sent_files_total", view.sent_files);
  to.add_count("pgweir_store_sent_bytes_total", view.sent_bytes);
  for (const auto& [reason, count] : view.failures)
    to.add_count("pgweir_store_failures_total", count, {{"reason", reason}});
  to.add("pgweir_store_trouble", view.problem ? 1 : 0);
  to.add("pgweir_store_needs_person", view.problem && view.problem->needs_person ? 1 : 0);
  if (view.next_try)
    to.add("pgweir_store_retry_in_seconds",
           std::max(0.0, std::chrono::duration<double>(*view.next_try - now).count()));
  if (view.last_success) to.add_time("pgweir_store_last_success_time_seconds", *view.last_success);
  to.add_count("pgweir_store_sent_again_total", view.sent_again);
  to.add_count("pgweir_store_not_compared_total", view.not_compared);
  if (view.manifest) {
    to.add_count("pgweir_store_manifest_lines", view.manifest->lines);
    // Not of each line: every head is a series of its own.
    to.add("pgweir_store_manifest_info", 1,
           {{"chain", view.manifest->chain},
            {"head", view.manifest->full_head},
            {"signed", view.manifest->is_signed ? "yes" : "no"}});
  }
  to.add_count("pgweir_store_removed_segments_total", view.removed_files);
}

void add_certificates(Collection& to, const receive::StatusBoard::Content& content) {
  const auto& certificates = content.certificates;
  const auto add = [&](const char* whose, const auto& expires) {
    if (expires)
      to.add_time("pgweir_receiver_certificate_expiry_time_seconds", *expires,
                  {{"certificate", whose}});
  };
  add("client", certificates.client_expires);
  add("server", certificates.server_expires);
  to.add("pgweir_receiver_secrets_trouble", certificates.problem.empty() ? 0 : 1);
}

void add_slot(Collection& to, const receive::StatusBoard::Content& content) {
  if (!content.slot || !content.slot_view) return;
  const std::vector<std::pair<std::string, std::string>> labels = {{"slot", *content.slot}};
  const auto& view = *content.slot_view;
  to.add("pgweir_slot_trouble", content.slot_warning ? 1 : 0, labels);
  to.add("pgweir_slot_exists", view.exists ? 1 : 0, labels);
  to.add("pgweir_slot_active", view.active ? 1 : 0, labels);
  add_choice(to, "pgweir_slot_wal_status", "wal_status",
             {"reserved", "extended", "unreserved", "lost"},
             view.invalidation_reason ? "lost" : view.wal_status, labels);
  if (view.safe_wal_size)
    to.add_count("pgweir_slot_safe_wal_bytes", std::max<std::int64_t>(0, *view.safe_wal_size),
                 labels);
  if (view.retained)
    to.add_count("pgweir_slot_retained_bytes", std::max<std::int64_t>(0, *view.retained), labels);
  to.add_time("pgweir_slot_look_time_seconds", content.slot_read_at, labels);
}

}  // namespace

std::span<const Metric> metric_list() { return kMetrics; }

std::string archive_label(const std::string& directory) {
  const std::unique_ptr<char, decltype(&std::free)> path(::realpath(directory.c_str(), nullptr),
                                                         &std::free);
  return path ? path.get() : directory;
}

std::vector<Family> receiver_metrics(const receive::StatusBoard::View& view,
                                     const ReceiverExtras& extras, SystemTime now) {
  const auto& content = view.content;
  Collection to({{"archive", archive_label(extras.archive)}});
  to.add("pgweir_build_info", 1, {{"version", PGWEIR_VERSION}});
  to.add("pgweir_receiver_up", extras.up ? 1 : 0);
  to.add_time("pgweir_receiver_update_time_seconds", now);
  to.add_time("pgweir_receiver_start_time_seconds", content.started);
  const auto state = !extras.up          ? std::string("stopped")
                     : content.disk_full ? std::string("disk full")
                                         : content.state;
  add_choice(to, "pgweir_receiver_state", "state",
             {"starting", "connecting", "waiting", "streaming", "disk full", "stopping", "stopped"},
             state);
  to.add_time("pgweir_receiver_state_since_time_seconds", content.shown_state_since());
  add_stream(to, view, extras);
  to.add_count("pgweir_receiver_archived_bytes_total", view.archived_bytes());
  to.add_count("pgweir_receiver_segments_finished_total", content.segments_finished);
  if (view.syncs) {
    const std::pair<const char*, std::chrono::nanoseconds> percentiles[] = {
        {"50", view.syncs->p50}, {"99", view.syncs->p99}, {"100", view.syncs->worst}};
    for (const auto& [percentile, time] : percentiles)
      to.add("pgweir_receiver_sync_seconds", std::chrono::duration<double>(time).count(),
             {{"percentile", percentile}});
  }
  to.add_count("pgweir_receiver_slow_syncs_total", content.slow_syncs);
  to.add_count("pgweir_receiver_streams_total", content.streams);
  to.add_count("pgweir_receiver_errors_total", content.errors);
  if (content.last_error)
    to.add_time("pgweir_receiver_last_error_time_seconds", content.last_error_time);
  to.add_count("pgweir_receiver_segments_to_compress", content.to_compress);
  std::uint64_t holes = 0;
  std::uint64_t missing = 0;
  std::uint64_t branches = 0;
  std::uint64_t left_behind = 0;
  std::uint64_t open_holes = 0;
  std::uint64_t open_branches = 0;
  for (const auto& loss : content.losses) {
    const bool hole = loss.kind == archive::Loss::Kind::hole;
    ++(hole ? holes : branches);
    (hole ? missing : left_behind) += loss.bytes();
    if (!loss.acknowledged) ++(hole ? open_holes : open_branches);
  }
  to.add_count("pgweir_receiver_holes", holes);
  to.add_count("pgweir_receiver_hole_bytes", missing);
  to.add_count("pgweir_receiver_lost_branches", branches);
  to.add_count("pgweir_receiver_lost_branch_bytes", left_behind);
  to.add_count("pgweir_receiver_losses_unacknowledged", open_holes, {{"kind", "hole"}});
  to.add_count("pgweir_receiver_losses_unacknowledged", open_branches, {{"kind", "lost_branch"}});
  to.add("pgweir_receiver_disk_full", content.disk_full ? 1 : 0);
  if (extras.free_bytes) to.add_count("pgweir_archive_free_bytes", *extras.free_bytes);
  if (extras.size_bytes) to.add_count("pgweir_archive_size_bytes", *extras.size_bytes);
  add_slot(to, content);
  add_certificates(to, content);
  for (const auto& candidate : content.candidates) {
    const std::vector<std::pair<std::string, std::string>> labels = {{"host", candidate.host}};
    to.add("pgweir_receiver_candidate_covered", candidate.covered() ? 1 : 0, labels);
    if (candidate.answered != SystemTime{})
      to.add_time("pgweir_receiver_candidate_look_time_seconds", candidate.answered, labels);
  }
  add_comparison(to, content);
  if (view.store) add_store(to, *view.store, now);
  if (view.serving) add_serving(to, *view.serving);
  return to.take();
}

std::vector<Family> serve_metrics(const archive::ServingView& view, SystemTime started,
                                  const std::string& archive, bool up, SystemTime now) {
  Collection to({{"archive", archive_label(archive)}});
  to.add("pgweir_serve_build_info", 1, {{"version", PGWEIR_VERSION}});
  to.add("pgweir_serve_up", up ? 1 : 0);
  to.add_time("pgweir_serve_update_time_seconds", now);
  to.add_time("pgweir_serve_start_time_seconds", started);
  add_serving(to, view);
  return to.take();
}

std::vector<Family> verify_metrics(const verify::Report& report, const std::string& archive,
                                   SystemTime now) {
  using Kind = verify::FindingKind;
  Collection to({{"archive", archive_label(archive)}});
  to.add_time("pgweir_verify_time_seconds", now);
  to.add("pgweir_verify_sound", report.sound() ? 1 : 0);
  std::map<std::string, std::size_t> counts;
  for (const auto kind : {Kind::gap, Kind::damage, Kind::broken_file, Kind::wrong_name,
                          Kind::other_cluster, Kind::forms_differ, Kind::history, Kind::unreadable,
                          Kind::not_a_file, Kind::backup, Kind::lost_branch})
    counts[std::string(verify::to_string(kind))] = 0;
  for (const auto& finding : report.findings)
    if (!finding.accepted) ++counts[std::string(verify::to_string(finding.kind))];
  for (const auto& [kind, count] : counts)
    to.add_count("pgweir_verify_findings", count, {{"kind", kind}});
  to.add_count("pgweir_verify_segments", report.segments);
  to.add_count("pgweir_verify_wal_bytes", report.wal_bytes);
  to.add_count("pgweir_verify_records", report.records);
  to.add("pgweir_verify_duration_seconds", seconds(report.elapsed));
  return to.take();
}

std::vector<Family> drill_metrics(const drill::Report& report, const std::string& archive,
                                  SystemTime now) {
  Collection to({{"archive", archive_label(archive)}});
  to.add_time("pgweir_drill_time_seconds", now);
  for (const auto outcome :
       {drill::Outcome::recovered, drill::Outcome::failed, drill::Outcome::not_tried})
    to.add("pgweir_drill_outcome", report.outcome == outcome ? 1 : 0,
           {{"outcome", std::string(drill::to_string(outcome))}});
  for (const auto& phase : report.phases)
    to.add("pgweir_drill_phase_seconds", seconds(phase.time), {{"phase", phase.name}});
  to.add_count("pgweir_drill_backup_bytes", report.backup_bytes);
  to.add_count("pgweir_drill_wal_bytes", report.wal_bytes);
  if (report.promised) to.add_count("pgweir_drill_promised_lsn_bytes", report.promised->byte());
  if (report.reached) to.add_count("pgweir_drill_reached_lsn_bytes", report.reached->byte());
  to.add_count("pgweir_drill_checks_not_held",
               std::count_if(report.checks.begin(), report.checks.end(),
                             [](const auto& check) { return !check.held; }));
  return to.take();
}

std::vector<Family> status_metrics(const status::StatusReport& report, SystemTime now) {
  Collection to({{"archive", archive_label(report.directory)}});
  to.add_time("pgweir_status_time_seconds", now);
  to.add("pgweir_status_receiver_running", report.receiver ? 1 : 0);
  to.add("pgweir_status_level", static_cast<int>(status::check(report, {}).level));
  std::map<std::string, std::uint64_t> bytes = {{"raw", 0}, {"zstd", 0}, {"gzip", 0}, {"lz4", 0}};
  for (const auto& timeline : report.timelines) {
    to.add_count("pgweir_status_segments", timeline.segments,
                 {{"timeline", std::to_string(timeline.timeline)}});
    for (const auto& [method, form] : timeline.forms) bytes[form_name(method)] += form.bytes;
  }
  for (const auto& [form, count] : bytes)
    to.add_count("pgweir_status_bytes", count, {{"form", form}});
  to.add_count("pgweir_status_holes", report.holes.size());
  std::uint64_t missing = 0;
  for (const auto& hole : report.holes) missing += hole.segments;
  to.add_count("pgweir_status_missing_segments", missing);
  to.add_count("pgweir_status_lost_branches", report.lost_branches.size());
  const auto open = [](const auto& loss) { return !loss.acknowledged; };
  to.add_count("pgweir_status_losses_unacknowledged",
               std::count_if(report.holes.begin(), report.holes.end(), open), {{"kind", "hole"}});
  to.add_count("pgweir_status_losses_unacknowledged",
               std::count_if(report.lost_branches.begin(), report.lost_branches.end(), open),
               {{"kind", "lost_branch"}});
  to.add_count("pgweir_status_damaged_files", report.damaged.size());
  to.add_count("pgweir_status_free_bytes", report.free_bytes);
  if (const auto lag = status::lag_of(report)) to.add_count("pgweir_status_lag_bytes", *lag);
  return to.take();
}

}  // namespace weir::cli
