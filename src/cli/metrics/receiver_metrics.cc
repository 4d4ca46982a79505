#include "cli/metrics/receiver_metrics.h"

#include <algorithm>
#include <map>

#include "cli/metrics/collection.h"
#include "wal/pg_time.h"

namespace weir::cli {

namespace {

void add_stream(Collection& to, const receive::StatusBoard::View& view,
                const ReceiverExtras& extras) {
  if (const auto& last = view.stream ? view.stream : view.content.last_stream) {
    to.add("pgweir_receiver_timeline", last->timeline);
    to.add_count("pgweir_receiver_write_lsn_bytes", last->written().byte());
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
      to.add_time("pgweir_serve_slot_inactive_since_timestamp_seconds", since->system_time(),
                  labels);
  }
}

void add_serving(Collection& to, const archive::ServingView& view) {
  if (view.end) {
    to.add("pgweir_serve_timeline", view.end->timeline);
    to.add_count("pgweir_serve_end_lsn_bytes", view.end->flush.byte());
  }
  add_clients(to, view);
  if (view.certificate)
    to.add_time("pgweir_serve_certificate_expiry_timestamp_seconds", view.certificate->expires);
  if (view.slots) add_slots(to, *view.slots);
}

void add_comparison(Collection& to, const receive::StatusBoard::Content& content) {
  if (!content.comparison) return;
  const auto& comparison = *content.comparison;
  to.add_count("pgweir_compare_lsn_bytes", comparison.position.byte());
  to.add_count("pgweir_compare_bytes_total", comparison.bytes);
  to.add_count("pgweir_compare_differences_total", comparison.differences);
  to.add("pgweir_compare_error", comparison.problem.empty() ? 0 : 1);
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
  to.add("pgweir_store_error", view.problem ? 1 : 0);
  to.add("pgweir_store_needs_person", view.problem && view.problem->needs_person ? 1 : 0);
  if (view.next_try)
    to.add("pgweir_store_retry_in_seconds",
           std::max(0.0, std::chrono::duration<double>(*view.next_try - now).count()));
  if (view.last_success)
    to.add_time("pgweir_store_last_success_timestamp_seconds", *view.last_success);
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
      to.add_time("pgweir_receiver_certificate_expiry_timestamp_seconds", *expires,
                  {{"certificate", whose}});
  };
  add("client", certificates.client_expires);
  add("server", certificates.server_expires);
  to.add("pgweir_receiver_secrets_error", certificates.problem.empty() ? 0 : 1);
}

void add_slot(Collection& to, const receive::StatusBoard::Content& content) {
  if (!content.slot || !content.slot_view) return;
  const std::vector<std::pair<std::string, std::string>> labels = {{"slot", *content.slot}};
  const auto& view = *content.slot_view;
  to.add("pgweir_slot_error", content.slot_warning ? 1 : 0, labels);
  to.add("pgweir_slot_exists", view.exists ? 1 : 0, labels);
  to.add("pgweir_slot_active", view.active ? 1 : 0, labels);
  to.add_choice("pgweir_slot_wal_status", "wal_status",
                {"reserved", "extended", "unreserved", "lost"},
                view.invalidation_reason ? "lost" : view.wal_status, labels);
  if (view.safe_wal_size)
    to.add_count("pgweir_slot_safe_wal_bytes", std::max<std::int64_t>(0, *view.safe_wal_size),
                 labels);
  if (view.retained)
    to.add_count("pgweir_slot_retained_bytes", std::max<std::int64_t>(0, *view.retained), labels);
  to.add_time("pgweir_slot_last_check_timestamp_seconds", content.slot_read_at, labels);
}

}  // namespace

std::vector<metrics::Family> receiver_metrics(const receive::StatusBoard::View& view,
                                              const ReceiverExtras& extras, SystemTime now) {
  const auto& content = view.content;
  Collection to(extras.archive);
  to.add("pgweir_build_info", 1, {{"version", PGWEIR_VERSION}});
  to.add("pgweir_receiver_up", extras.up ? 1 : 0);
  to.add_time("pgweir_receiver_update_timestamp_seconds", now);
  to.add_time("pgweir_receiver_start_time_seconds", content.started);
  const auto state = !extras.up          ? std::string("stopped")
                     : content.disk_full ? std::string("disk full")
                                         : content.state;
  to.add_choice(
      "pgweir_receiver_state", "state",
      {"starting", "connecting", "waiting", "streaming", "disk full", "stopping", "stopped"},
      state);
  to.add_time("pgweir_receiver_state_since_timestamp_seconds", content.shown_state_since());
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
    to.add_time("pgweir_receiver_last_error_timestamp_seconds", content.last_error_time);
  to.add_count("pgweir_receiver_segments_to_compress", content.to_compress);
  struct Count {
    std::uint64_t all = 0;
    std::uint64_t bytes = 0;
    std::uint64_t open = 0;
  };
  std::map<archive::Loss::Kind, Count> counts;
  for (const auto& loss : content.losses) {
    auto& count = counts[loss.kind];
    ++count.all;
    count.bytes += loss.bytes();
    if (!loss.acknowledged) ++count.open;
  }
  using Kind = archive::Loss::Kind;
  to.add_count("pgweir_receiver_holes", counts[Kind::hole].all);
  to.add_count("pgweir_receiver_hole_bytes", counts[Kind::hole].bytes);
  to.add_count("pgweir_receiver_lost_branches", counts[Kind::lost_branch].all);
  to.add_count("pgweir_receiver_lost_branch_bytes", counts[Kind::lost_branch].bytes);
  to.add_count("pgweir_receiver_minimal_wal", counts[Kind::minimal_wal].all);
  for (const auto& kind : archive::Loss::kinds())
    to.add_count("pgweir_receiver_losses_unacknowledged", counts[kind.kind].open,
                 {{"kind", std::string(kind.name)}});
  to.add("pgweir_receiver_disk_full", content.disk_full ? 1 : 0);
  if (extras.free_bytes) to.add_count("pgweir_archive_free_bytes", *extras.free_bytes);
  if (extras.size_bytes) to.add_count("pgweir_archive_size_bytes", *extras.size_bytes);
  add_slot(to, content);
  add_certificates(to, content);
  for (const auto& candidate : content.candidates) {
    const std::vector<std::pair<std::string, std::string>> labels = {{"host", candidate.host}};
    to.add("pgweir_receiver_candidate_covered", candidate.covered() ? 1 : 0, labels);
    if (candidate.answered != SystemTime{})
      to.add_time("pgweir_receiver_candidate_last_check_timestamp_seconds", candidate.answered,
                  labels);
  }
  add_comparison(to, content);
  if (view.store) add_store(to, *view.store, now);
  if (view.serving) add_serving(to, *view.serving);
  return to.take();
}

std::vector<metrics::Family> serve_metrics(const archive::ServingView& view, SystemTime started,
                                           const std::string& archive, bool up, SystemTime now) {
  Collection to(archive);
  to.add("pgweir_serve_build_info", 1, {{"version", PGWEIR_VERSION}});
  to.add("pgweir_serve_up", up ? 1 : 0);
  to.add_time("pgweir_serve_update_timestamp_seconds", now);
  to.add_time("pgweir_serve_start_time_seconds", started);
  add_serving(to, view);
  return to.take();
}

}  // namespace weir::cli
