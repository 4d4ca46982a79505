#include "cli/metrics/receiver_metrics.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "cli/metrics/collection.h"
#include "io/place.h"
#include "wal/pg_time.h"

namespace weir::cli {

namespace {

using SystemTime = std::chrono::system_clock::time_point;

void add_stream(Collection& to, const receive::ReceiverView& view) {
  if (const auto& last = view.stream ? view.stream : view.last_stream) {
    to.add("pgweir_receiver_timeline", last->timeline);
    to.add_count("pgweir_receiver_write_lsn_bytes", last->written().byte());
    to.add_count("pgweir_receiver_flush_lsn_bytes", last->flush.byte());
    if (last->confirmed)
      to.add_count("pgweir_receiver_confirmed_lsn_bytes", last->confirmed->byte());
  }
  if (view.stream) {
    to.add_count("pgweir_receiver_server_lsn_bytes", view.stream->server_end.byte());
    to.add_count("pgweir_receiver_lag_bytes", *view.lag());
  }
  if (view.silence) to.add("pgweir_receiver_silence_seconds", seconds(*view.silence));
}

/// If two clients have the same name and address, the one that lags behind counts.
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
    if (client->behind) to.add_count("pgweir_serve_client_behind_bytes", *client->behind, labels);
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
  to.add("pgweir_serve_error", view.problem ? 1 : 0);
  add_clients(to, view);
  if (view.certificate)
    to.add_time("pgweir_serve_certificate_expiry_timestamp_seconds", view.certificate->expires);
  if (view.slots) add_slots(to, *view.slots);
}

void add_comparison(Collection& to, const receive::ReceiverView& view) {
  if (!view.comparison) return;
  const auto& comparison = *view.comparison;
  to.add_count("pgweir_compare_lsn_bytes", comparison.position.byte());
  to.add_count("pgweir_compare_bytes_total", comparison.bytes);
  to.add_count("pgweir_compare_differences_total", comparison.differences);
  to.add("pgweir_compare_error", comparison.problem.empty() ? 0 : 1);
}

void add_store(Collection& to, const store::StoreView& view, SystemTime now) {
  to.add_count("pgweir_store_pending_segments", view.pending_segments);
  to.add_count("pgweir_store_pending_bytes", view.pending_bytes);
  to.add("pgweir_store_oldest_pending_seconds",
         static_cast<double>(view.oldest_pending(now).value_or(std::chrono::seconds(0)).count()));
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

void add_certificates(Collection& to, const receive::ReceiverView& view) {
  const auto& certificates = view.certificates;
  const auto add = [&](const char* whose, const auto& expires) {
    if (expires)
      to.add_time("pgweir_receiver_certificate_expiry_timestamp_seconds", *expires,
                  {{"certificate", whose}});
  };
  add("client", certificates.client_expires);
  add("server", certificates.server_expires);
  to.add("pgweir_receiver_secrets_error", certificates.problem.empty() ? 0 : 1);
}

void add_slot(Collection& to, const receive::ReceiverView& view) {
  if (!view.slot || (!view.slot_view && !view.slot_warning)) return;
  const std::vector<std::pair<std::string, std::string>> labels = {{"slot", *view.slot}};
  to.add("pgweir_slot_error", view.slot_warning ? 1 : 0, labels);
  if (!view.slot_view) return;  // no check has succeeded
  const auto& slot = *view.slot_view;
  to.add("pgweir_slot_exists", slot.exists ? 1 : 0, labels);
  to.add("pgweir_slot_active", slot.active ? 1 : 0, labels);
  to.add_choice("pgweir_slot_wal_status", "wal_status",
                {"reserved", "extended", "unreserved", "lost"},
                slot.invalidation_reason ? "lost" : slot.wal_status, labels);
  if (slot.safe_wal_size)
    to.add_count("pgweir_slot_safe_wal_bytes", std::max<std::int64_t>(0, *slot.safe_wal_size),
                 labels);
  if (slot.retained)
    to.add_count("pgweir_slot_retained_bytes", std::max<std::int64_t>(0, *slot.retained), labels);
  to.add_time("pgweir_slot_last_check_timestamp_seconds", view.slot_read_at, labels);
}

void add_place(Collection& to, const std::string& archive) {
  try {
    const auto place = io::inspect_place(archive);
    to.add_count("pgweir_archive_free_bytes", place.free_bytes);
    to.add_count("pgweir_archive_size_bytes", place.bytes);
  } catch (const Error&) {
    // The directory was moved away: the receiver has it open, and reports that itself.
  }
}

}  // namespace

std::vector<metrics::Family> ReceiverMetrics::collect(bool up) {
  const auto view = board_.view();
  Collection to(archive_);
  to.add("pgweir_build_info", 1, {{"version", view.version}});
  to.add("pgweir_receiver_up", up ? 1 : 0);
  to.add_time("pgweir_receiver_update_timestamp_seconds", view.taken);
  to.add_time("pgweir_receiver_start_time_seconds", view.started);
  to.add_choice(
      "pgweir_receiver_state", "state",
      {"starting", "connecting", "waiting", "streaming", "disk full", "stopping", "stopped"},
      up ? view.shown_state() : "stopped");
  to.add_time("pgweir_receiver_state_since_timestamp_seconds", view.shown_state_since());
  add_stream(to, view);
  if (view.stream) {
    const std::lock_guard lock(mutex_);
    const auto progress = meter_.add(*view.stream, std::chrono::steady_clock::now());
    const auto age = progress.behind_time ? progress.behind_time : progress.behind_at_least;
    if (progress.behind == 0 || age)
      to.add("pgweir_receiver_lag_seconds", progress.behind == 0 ? 0 : seconds(*age));
  }
  to.add_count("pgweir_receiver_archived_bytes_total", view.archived_bytes);
  to.add_count("pgweir_receiver_segments_finished_total", view.segments_finished);
  if (view.syncs) {
    const std::pair<const char*, std::chrono::nanoseconds> percentiles[] = {
        {"50", view.syncs->p50}, {"99", view.syncs->p99}, {"100", view.syncs->worst}};
    for (const auto& [percentile, time] : percentiles)
      to.add("pgweir_receiver_sync_seconds", std::chrono::duration<double>(time).count(),
             {{"percentile", percentile}});
  }
  to.add_count("pgweir_receiver_slow_syncs_total", view.slow_syncs);
  to.add_count("pgweir_receiver_streams_total", view.streams);
  to.add_count("pgweir_receiver_errors_total", view.errors);
  if (view.last_error)
    to.add_time("pgweir_receiver_last_error_timestamp_seconds", view.last_error_time);
  to.add_count("pgweir_receiver_segments_to_compress", view.to_compress);
  struct Count {
    std::uint64_t all = 0;
    std::uint64_t bytes = 0;
    std::uint64_t open = 0;
  };
  std::map<archive::Loss::Kind, Count> counts;
  for (const auto& loss : view.losses) {
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
  to.add("pgweir_receiver_disk_full", view.disk_full_since ? 1 : 0);
  add_place(to, archive_);
  add_slot(to, view);
  add_certificates(to, view);
  for (const auto& candidate : view.candidates) {
    const std::vector<std::pair<std::string, std::string>> labels = {{"host", candidate.host}};
    to.add("pgweir_receiver_candidate_covered", candidate.covered() ? 1 : 0, labels);
    if (candidate.answered != SystemTime{})
      to.add_time("pgweir_receiver_candidate_last_check_timestamp_seconds", candidate.answered,
                  labels);
  }
  add_comparison(to, view);
  if (view.store) add_store(to, *view.store, view.taken);
  if (view.serving) add_serving(to, *view.serving);
  return to.take();
}

std::vector<metrics::Family> serve_metrics(const archive::Relay& relay, const std::string& archive,
                                           bool up) {
  Collection to(archive);
  to.add("pgweir_serve_build_info", 1, {{"version", relay.version}});
  to.add("pgweir_serve_up", up ? 1 : 0);
  to.add_time("pgweir_serve_update_timestamp_seconds", relay.taken);
  to.add_time("pgweir_serve_start_time_seconds", relay.started);
  add_serving(to, relay.serving);
  return to.take();
}

}  // namespace weir::cli
