#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "base/units.h"
#include "status/text.h"

namespace weir::status {

namespace {

using receive::ReceiverView;

std::string comparison_text(const ReceiverView::Comparison& comparison) {
  auto text = fmt::format(
      "  compared with {}: {}", comparison.with,
      comparison.position.valid()
          ? fmt::format("up to {}, {}", comparison.position, format_size(comparison.bytes))
          : std::string("nothing yet"));
  text += comparison.differences == 0 ? ", no difference\n"
                                      : fmt::format("\n  CRITICAL: other WAL in {}: {}\n",
                                                    counted(comparison.differences, "segment"),
                                                    comparison.difference.value_or(""));
  if (!comparison.problem.empty())
    text += fmt::format("  WARNING: it cannot be compared: {}\n", comparison.problem);
  return text;
}

/// "store: s3://wal/p/main: 12 segments (192 MB) behind, the oldest since …".
std::string store_text(const store::StoreView& store) {
  auto text = fmt::format("  store: {}: ", store.store);
  if (store.pending_segments + store.pending_histories == 0)
    text += store.sent_to ? fmt::format("all is there, up to {}", store.sent_to->to_string())
                          : std::string("nothing to send");
  else
    text += fmt::format("{} ({}) behind, the oldest since {}",
                        store.pending_segments > 0 ? counted(store.pending_segments, "segment")
                                                   : std::string("a history"),
                        format_size(store.pending_bytes),
                        store.pending_since ? format_time(*store.pending_since) : "-");
  text += "\n";
  if (const auto& problem = store.problem) {
    text += fmt::format("  {}: since {}: {}\n", problem->needs_person ? "CRITICAL" : "WARNING",
                        format_time(problem->since), problem->text);
    if (!problem->hint.empty()) text += fmt::format("    {}\n", problem->hint);
    if (store.next_try) text += fmt::format("    next try at {}\n", format_time(*store.next_try));
  }
  if (store.sent_again > 0)
    text += fmt::format("  WARNING: {} had to be uploaded again\n",
                        counted(store.sent_again, "segment"));
  if (store.not_compared > 0)
    text += fmt::format("    {} segments are present there, not compared\n", store.not_compared);
  if (const auto& manifest = store.manifest)
    text +=
        fmt::format("    manifest {}: {} lines, {}; head {}\n", manifest->chain, manifest->lines,
                    manifest->is_signed ? "signed" : "not signed", manifest->head);
  if (!store.kept_for.empty())
    text += fmt::format("  --local-retention removes nothing more: {}\n", store.kept_for);
  return text;
}

/// Until when those are valid that the connection to the server is made with.
std::string certificates_text(const ReceiverView::Certificates& certificates) {
  std::string text;
  if (certificates.client_expires)
    text += fmt::format("own until {}", format_time(*certificates.client_expires));
  if (certificates.server_expires)
    text += fmt::format("{}the server's until {}", text.empty() ? "" : ", ",
                        format_time(*certificates.server_expires));
  if (!text.empty()) text = "  certificates: " + text + "\n";
  if (!certificates.problem.empty())
    text += fmt::format("  WARNING: no new connection could be made: {}\n", certificates.problem);
  return text;
}

/// What a failover to that server would cost.
std::string candidate_text(const receive::Candidate& candidate) {
  auto text = fmt::format("  failover to {}: ", candidate.host);
  const auto slot_lsn = candidate.slot_lsn ? candidate.slot_lsn->to_string() : "-";
  if (candidate.covered()) {
    text += fmt::format("covered, its slot keeps WAL from {} on", slot_lsn);
    if (candidate.slot_lsn && candidate.end >= *candidate.slot_lsn)
      text += fmt::format(" ({})", format_size(candidate.end - *candidate.slot_lsn));
    return text + "\n";
  }
  if (!candidate.silent_since) return text + fmt::format("not covered: {}\n", candidate.reason);
  text += fmt::format("not covered, no answer since {}: {}\n", format_time(*candidate.silent_since),
                      candidate.reason);
  if (candidate.answered == ReceiverView::SystemTime{})
    return text + "    its slot has not been checked yet\n";
  return text + fmt::format("    at its last answer, {}, it was {}; its slot kept WAL from {} on\n",
                            format_time(candidate.answered),
                            candidate.was_covered ? "covered" : "not covered", slot_lsn);
}

/// --confirm stored: the position that was confirmed to the server, and so what its slot retains.
std::string confirmed_text(const receive::StreamSnapshot& stream) {
  if (!stream.confirmed) return {};
  if (!stream.confirmed->valid())
    return "  no position is confirmed to the server (--confirm stored): the slot retains all WAL "
           "from its restart_lsn on\n";
  if (*stream.confirmed >= stream.flush)
    return "  all of that is in the store, and confirmed to the server\n";
  return fmt::format(
      "  confirmed to the server: up to {} (--confirm stored); its slot keeps the other {} until "
      "the store has them\n",
      *stream.confirmed, format_size(stream.flush - *stream.confirmed));
}

/// How far the archive is durable.
std::string position_text(const ReceiverView& view) {
  if (!view.stream) return {};
  const auto lag = view.lag().value_or(0);
  return fmt::format(
      "  durable up to {} on timeline {}{}\n  last message of the server: {}\n{}",
      view.stream->flush, view.stream->timeline,
      lag == 0 ? std::string(", caught up")
               : fmt::format(
                     ", {} behind the server{}", format_size(lag),
                     view.lag_time ? " (" + format_duration(*view.lag_time) + ")" : std::string()),
      view.silence ? format_time(view.taken - *view.silence) : "", confirmed_text(*view.stream));
}

std::string syncs_text(const receive::SyncTimes::Summary& syncs) {
  const auto time = [](std::chrono::nanoseconds taken) {
    const auto ms = std::chrono::duration<double, std::milli>(taken).count();
    return ms < 1000 ? fmt::format("{:.3g} ms", ms) : fmt::format("{:.3g} s", ms / 1000);
  };
  return fmt::format(
      "  syncs of the last {} minutes: half took up to {}, 99 of 100 up to {}, the longest {}\n",
      receive::SyncTimes::kWindow / std::chrono::minutes(1), time(syncs.p50), time(syncs.p99),
      time(syncs.worst));
}

std::string client_text(const archive::DownstreamClient& client) {
  const auto position = [](wal::Lsn lsn) { return lsn.valid() ? lsn.to_string() : "-"; };
  const auto lag = [](const std::optional<std::chrono::microseconds>& time) {
    return time ? fmt::format(" ({:.3g} ms)",
                              std::chrono::duration<double, std::milli>(*time).count())
                : std::string();
  };
  auto text =
      fmt::format("    {} ({}, user {}{}{}): {}, {}",
                  client.application_name.empty() ? "-" : client.application_name,
                  client.client_address, client.user, client.slot ? ", slot " + *client.slot : "",
                  client.ssl ? ", " + client.ssl->version : "", client.state, client.sync_state);
  if (client.timeline != 0) {
    text += fmt::format(", timeline {}", client.timeline);
    if (const auto bytes = client.behind.value_or(0); bytes > 0)
      text += fmt::format(", {} BEHIND", format_size(bytes));
    text +=
        fmt::format("\n      sent {}, write {}{}, flush {}{}, replay {}{}", position(client.sent),
                    position(client.write), lag(client.write_lag), position(client.flush),
                    lag(client.flush_lag), position(client.replay), lag(client.replay_lag));
  }
  return text + "\n";
}

/// The clients of a receiver that serves or of `pgweir serve`, in the words of pg_stat_replication.
std::string clients_text(const std::vector<archive::DownstreamClient>& clients) {
  if (clients.empty()) return "  no clients are connected\n";
  auto text = fmt::format("  serves {}:\n", counted(clients.size(), "client"));
  for (const auto& client : archive::furthest_behind_first(clients)) text += client_text(client);
  return text;
}

std::string problem_text(const archive::ServingView& serving) {
  if (!serving.problem) return {};
  return fmt::format("  {} since {}: {}\n",
                     serving.end ? "serving no newer WAL" : "not serving clients",
                     format_time(serving.problem->since), serving.problem->text);
}

}  // namespace

std::string receiver_text(const StatusReport& report) {
  if (report.receiver_error) return fmt::format("Receiver: {}\n", *report.receiver_error);
  if (!report.receiver) {
    std::string text = "Receiver: none runs\n";
    if (const auto& ended = report.ended) {
      text += fmt::format("  {}\n", ended->text());
      if (!ended->hint.empty()) text += fmt::format("  hint: {}\n", ended->hint);
    }
    return text;
  }
  const auto& view = *report.receiver;
  auto text = fmt::format("Receiver: {}", view.shown_state());
  if (!view.server.empty()) text += fmt::format(", server {}", view.server);
  if (!view.cluster_name.empty()) text += fmt::format(", cluster {}", view.cluster_name);
  text += fmt::format(", since {} (pid {})\n", format_time(view.shown_state_since()), view.pid);
  if (view.outage_since && !view.stream)
    text += fmt::format("  no WAL streams since {}, for {}\n", format_time(*view.outage_since),
                        format_duration(std::chrono::floor<std::chrono::seconds>(
                            std::max(view.taken, *view.outage_since) - *view.outage_since)));
  text += position_text(view);
  if (view.is_cut_off())
    text += fmt::format(
        "  WARNING: the server is a standby that has received no WAL from its primary since {}\n",
        format_time(*view.cut_off_since));
  if (view.syncs) text += syncs_text(*view.syncs);
  if (view.to_compress > 0)
    text += fmt::format("  to be compressed: {}\n", counted(view.to_compress, "segment"));
  text += view.slot ? fmt::format("  slot: {}\n", *view.slot)
                    : "  slot: none, the server may remove WAL before it is archived\n";
  for (const auto& candidate : view.candidates) text += candidate_text(candidate);
  if (view.serving) {
    text += problem_text(*view.serving);
    text += clients_text(view.serving->clients);
  }
  if (view.comparison) text += comparison_text(*view.comparison);
  if (view.store) text += store_text(*view.store);
  text += certificates_text(view.certificates);
  if (view.slot_warning) text += fmt::format("  WARNING: {}\n", *view.slot_warning);
  if (view.last_error)
    text +=
        fmt::format("  last error: {}: {}\n", format_time(view.last_error_time), *view.last_error);
  return text;
}

std::string relays_text(const StatusReport& report) {
  std::string text;
  for (const auto& relay : report.relays) {
    const auto& serving = relay.serving;
    text += fmt::format("Relay: on {}, since {} (pid {})\n", fmt::join(serving.listens, ", "),
                        format_time(relay.started), relay.pid);
    if (serving.end)
      text +=
          fmt::format("  serves timeline {} up to {}\n", serving.end->timeline, serving.end->flush);
    else if (!serving.problem)
      text += "  the archive has no WAL yet\n";
    text += problem_text(serving);
    text += clients_text(serving.clients);
  }
  for (const auto& error : report.relay_errors) text += fmt::format("Relay: {}\n", error);
  return text;
}

std::string slots_text(const StatusReport& report) {
  std::string text;
  if (!report.slots.empty()) {
    text = "Slots of the archive's clients (pgweir prune leaves what they need):\n";
    if (report.relays.empty() && report.relay_errors.empty() &&
        !(report.receiver && report.receiver->serving))
      text += "  no process serves the archive\n";
  }
  for (const auto& slot : report.slots) {
    const auto& kept = slot.kept;
    const auto since = kept.inactive_since.empty() ? "" : " since " + kept.inactive_since;
    text += fmt::format("  {}{}: ", kept.name, slot.temporary ? " (temporary)" : "");
    if (kept.lost)
      text += fmt::format("LOST, not in use{}\n", since);
    else
      text += fmt::format(
          "{}{}, {}\n", slot.active_pid ? "in use" : "not in use", slot.active_pid ? "" : since,
          kept.restart_lsn.valid() ? fmt::format("holds back {}, from {} on",
                                                 format_size(slot.retained), kept.restart_lsn)
                                   : std::string("holds nothing back"));
  }
  for (const auto& slot : report.slots)
    if (const auto warning = archive::warning_of(slot))
      text += fmt::format("  WARNING: {}\n", *warning);
  if (report.slots_error) text += fmt::format("Slots: {}\n", *report.slots_error);
  return text;
}

}  // namespace weir::status
