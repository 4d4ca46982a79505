#include "web/receiver_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "web/charts.h"
#include "web/html.h"
#include "web/words.h"

namespace weir::web {

namespace {

using receive::ReceiverView;

template <typename Rep, typename Period>
std::string milliseconds(std::chrono::duration<Rep, Period> time) {
  return milliseconds_text(std::chrono::duration<double, std::milli>(time).count());
}

/// A term and what it is; nothing if that is not known.
std::string fact(std::string_view term, const std::string& html) {
  if (html.empty()) return {};
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", term, html);
}

std::string slot_html(const Facts& facts, const ReceiverView& receiver) {
  if (!receiver.slot) return {};
  auto html = escaped(*receiver.slot);
  if (!receiver.slot_view)
    return html + "; its state is unknown (--monitor-conninfo, or dbname in the connection string)";
  const auto& slot = *receiver.slot_view;
  if (!slot.wal_status.empty()) html += fmt::format(", {}", escaped(slot.wal_status));
  if (slot.retained && *slot.retained >= 0)
    html += fmt::format(", keeps {}", format_size(static_cast<std::uint64_t>(*slot.retained)));
  if (slot.safe_wal_size && *slot.safe_wal_size >= 0) {
    const auto safe = static_cast<std::uint64_t>(*slot.safe_wal_size);
    html += fmt::format(", {} left until it is invalidated", format_size(safe));
    if (facts.history)
      if (const auto time = time_to_invalidation(safe, *facts.history); !time.empty())
        html += fmt::format(" (about {} at the current rate)", time);
  }
  // The server cannot be asked meanwhile.
  constexpr std::chrono::seconds kOld(90);
  if (receiver.slot_read_at != SystemTime() && receiver.taken - receiver.slot_read_at > kOld)
    html += ", as of " + time_html(receiver.slot_read_at);
  return html;
}

/// What the receiver sends to an object store: what waits, and what is the matter with it.
std::string store_html(const store::StoreView& store, SystemTime now) {
  auto html = escaped(store.store);
  const auto waits = store.pending_segments;
  html += waits == 0
              ? std::string(": has all complete segments")
              : fmt::format(": {} segments wait, {}", waits, format_size(store.pending_bytes));
  if (const auto age = store.oldest_pending(now); waits > 0 && age)
    html += fmt::format(", the oldest for {}", format_duration(*age));
  if (store.sent_to) html += fmt::format("<br>sent up to {}", store.sent_to->to_string());
  if (const auto& problem = store.problem) {
    html += fmt::format(
        "<br>{} {}, since {}",
        badge_html(problem->needs_person ? status::Level::critical : status::Level::warning),
        escaped(problem->text), time_html(problem->since));
    if (!problem->hint.empty()) html += "<br>" + escaped(problem->hint);
    if (store.next_try) html += "<br>next retry at " + time_html(*store.next_try);
  }
  if (store.sent_again > 0)
    html += fmt::format("<br>{} {} sent, gone from the store, and sent again",
                        badge_html(status::Level::warning), store.sent_again);
  if (!store.kept_for.empty())
    html += "<br>--local-retention removes nothing more: " + escaped(store.kept_for);
  return html;
}

/// Until when those are valid that this side and the server show.
std::string certificates_html(const ReceiverView::Certificates& shown) {
  std::string html;
  const auto add = [&](const std::string& text) { html += (html.empty() ? "" : "<br>") + text; };
  if (shown.client_expires) add("our own until " + time_html(*shown.client_expires));
  if (shown.server_expires) add("the server's until " + time_html(*shown.server_expires));
  if (!shown.problem.empty())
    add(badge_html(status::Level::warning) + " " + escaped(shown.problem));
  return html;
}

std::string table(std::initializer_list<std::string_view> heads, const std::string& rows) {
  std::string html = "<div class=\"scroll\"><table><tr>";
  for (const auto head : heads) html += fmt::format("<th scope=\"col\">{}</th>", head);
  return html + "</tr>\n" + rows + "</table></div>\n";
}

std::string row(const std::vector<std::string>& cells) {
  std::string html = "<tr>";
  for (const auto& cell : cells) html += fmt::format("<td>{}</td>", cell);
  return html + "</tr>\n";
}

std::string client_row(const archive::DownstreamClient& client) {
  const auto position = [](wal::Lsn lsn, const std::optional<std::chrono::microseconds>& lag) {
    return (lsn.valid() ? lsn.to_string() : "") + (lag ? " (" + milliseconds(*lag) + ")" : "");
  };
  return row({escaped(client.application_name),
              escaped(client.client_address + (client.slot ? ", slot " + *client.slot : "")),
              escaped(client.state) + ", " + escaped(client.sync_state),
              client.behind ? format_size(*client.behind) : "",
              position(client.flush, client.flush_lag),
              position(client.replay, client.replay_lag)});
}

std::string clients_html(const std::vector<archive::DownstreamClient>& clients) {
  if (clients.empty()) return "<p>No clients are connected.</p>\n";
  const auto sorted = archive::furthest_behind_first(clients);
  std::string rows;
  constexpr std::size_t kMost = 50;
  for (std::size_t i = 0; i < std::min(kMost, sorted.size()); ++i) rows += client_row(sorted[i]);
  if (sorted.size() > kMost)
    rows += fmt::format("<tr><td colspan=\"6\">and {} more, which are less behind</td></tr>\n",
                        sorted.size() - kMost);
  return table({"client", "from", "state", "behind", "flushed", "replayed"}, rows);
}

/// The start of the newest history's newest range, and its length. A base backup is needed: the
/// oldest that begins there, if any is known.
std::string oldest_moment(const Facts& facts) {
  const status::StatusReport::Window* newest = nullptr;
  for (const auto& window : facts.report.windows)
    if (window.newest && (newest == nullptr || window.timeline > newest->timeline))
      newest = &window;
  if (newest == nullptr) return {};
  const status::StatusReport::Backup* oldest = nullptr;
  for (const auto& backup : facts.report.backups)
    if (backup.problem.empty() && backup.began && backup.start >= newest->from &&
        backup.end.value_or(backup.start) <= newest->to &&
        (oldest == nullptr || backup.start < oldest->start))
      oldest = &backup;
  const auto from = oldest != nullptr ? oldest->began : newest->from_time;
  auto html = from ? time_html(from->system_time()) : newest->from.to_string();
  if (from && newest->to_time && *newest->to_time > *from)
    html += fmt::format(", {} before the newest commit",
                        format_duration(std::chrono::duration_cast<std::chrono::seconds>(
                            newest->to_time->system_time() - from->system_time())));
  return html +
         (oldest != nullptr ? "" : "; with a base backup that old, of which none is known here");
}

}  // namespace

std::string time_to_invalidation(std::uint64_t safe_bytes, const History& history) {
  // The fullest of the last hour's spans that are over: a slot is lost in a burst.
  constexpr std::size_t kSpans = 12;
  const auto& spans = history.shorts();
  if (spans.size() < 2) return {};
  std::uint64_t most = 0;
  const auto first = spans.size() > kSpans + 1 ? spans.size() - kSpans - 1 : 0;
  for (std::size_t i = first; i + 1 < spans.size(); ++i) most = std::max(most, spans[i].bytes);
  if (most == 0) return {};
  const auto seconds = static_cast<double>(safe_bytes) / static_cast<double>(most) *
                       static_cast<double>(History::kShort.count());
  constexpr double kLongest = 365.0 * 24 * 3600;
  if (seconds > kLongest) return {};
  return format_duration(std::chrono::seconds(static_cast<std::int64_t>(seconds)));
}

std::string receiver_html(const Facts& facts, bool with_ages) {
  if (facts.report.receiver_error)
    return fmt::format(
        "<p>{} {}</p>\n",
        badge_html(facts.report.receiver_mute ? status::Level::warning : status::Level::critical),
        escaped(*facts.report.receiver_error));
  if (!facts.report.receiver) {
    const auto& ended = facts.report.ended;
    return fmt::format(
        "<p>No receiver runs{}.</p>\n{}", ended ? "; " + escaped(ended->text()) : "",
        ended && !ended->hint.empty() ? fmt::format("<p>{}</p>\n", escaped(ended->hint)) : "");
  }
  const auto& receiver = *facts.report.receiver;
  std::string html = "<dl class=\"facts\">\n";
  const auto now = with_ages ? std::optional(facts.now) : std::nullopt;
  html += fact("State", receiver.outage_since && !receiver.stream && !receiver.disk_full_since
                            ? escaped(receiver.state) + ", no WAL streams since " +
                                  since_html(*receiver.outage_since, now)
                            : escaped(receiver.shown_state()) + " since " +
                                  since_html(receiver.shown_state_since(), now));
  html += fact(
      "Upstream",
      escaped(receiver.server) +
          (receiver.cluster_name.empty() ? "" : ", cluster " + escaped(receiver.cluster_name)) +
          (receiver.server.empty() || receiver.stream ? "" : ", from which no WAL streams"));
  if (const auto& stream = receiver.stream)
    html +=
        fact("Durable up to", fmt::format("{} on timeline {}", stream->flush, stream->timeline));
  if (const auto lag = receiver.lag())
    html += fact("Behind the server",
                 *lag == 0 ? "nothing: caught up"
                           : format_size(*lag) + (receiver.lag_time
                                                      ? ", " + format_duration(*receiver.lag_time)
                                                      : std::string()));
  else
    html += fact("Behind the server", "not known: no WAL streams");
  if (const auto& last = receiver.last_stream; last && !receiver.stream)
    html += fact("Durable up to", fmt::format("{} on timeline {}, when it last streamed",
                                              last->flush, last->timeline));
  if (receiver.bytes_per_second)
    html += fact("Rate", format_size(*receiver.bytes_per_second) + "/s");
  if (const auto& syncs = receiver.syncs)
    html += fact("Flush time, last five minutes",
                 fmt::format("p50 {}, p99 {}, worst {}", milliseconds(syncs->p50),
                             milliseconds(syncs->p99), milliseconds(syncs->worst)));
  html += fact("Slot", slot_html(facts, receiver));
  html += fact("Certificates", certificates_html(receiver.certificates));
  if (receiver.store) html += fact("Object store", store_html(*receiver.store, receiver.taken));
  if (receiver.to_compress > 0)
    html += fact("To compress", fmt::format("{} segments", receiver.to_compress));
  if (receiver.last_error)
    html += fact(receiver.is_streaming() ? "Last error (resolved)" : "Last error",
                 fmt::format("<span class=\"words\">{}: {}</span>",
                             time_html(receiver.last_error_time), escaped(*receiver.last_error)));
  return html + "</dl>\n";
}

std::string archive_html(const Facts& facts) {
  const auto& report = facts.report;
  std::uint64_t segments = 0;
  std::uint64_t bytes = 0;
  for (const auto& timeline : report.timelines) {
    segments += timeline.segments;
    for (const auto& [method, form] : timeline.forms) bytes += form.bytes;
  }
  std::string html = "<dl class=\"facts\">\n";
  auto size = fmt::format("{} in {}", format_size(bytes), counted(segments, "segment"));
  if (const auto ratio = status::compression_ratio(report))
    size += fmt::format("; compression ratio {:.1f}", *ratio);
  html += fact("Size", size);
  html += fact("Earliest point in time to recover to", oldest_moment(facts));
  auto free = format_size(report.free_bytes);
  if (report.disk_bytes > 0)
    free += fmt::format(" of {} ({}%)", format_size(report.disk_bytes),
                        report.free_bytes * 100 / report.disk_bytes);
  if (report.full_in)
    free +=
        fmt::format("; full in {} at the rate of the last day", format_duration(*report.full_in));
  if (!status::is_store_alone(report)) html += fact("Free", free);
  return html + "</dl>\n";
}

std::string candidates_html(const Facts& facts) {
  if (!facts.report.receiver || facts.report.receiver->candidates.empty()) return {};
  std::string rows;
  for (const auto& each : facts.report.receiver->candidates)
    rows += row({escaped(each.host),
                 badge_html(each.covered() ? status::Level::ok : status::Level::warning) +
                     (each.covered() ? " covered" : " not covered"),
                 each.slot_lsn ? each.slot_lsn->to_string() : "", escaped(each.reason)});
  return table({"host", "a failover to it", "its slot keeps WAL from", "why"}, rows);
}

std::string downstream_html(const Facts& facts) {
  std::string html;
  const auto& receiver = facts.report.receiver;
  if (receiver && receiver->serving) html += clients_html(receiver->serving->clients);
  for (const auto& relay : facts.report.relays)
    html += fmt::format("<h3>pgweir serve, pid {}</h3>\n", relay.pid) +
            clients_html(relay.serving.clients);
  if (facts.report.slots.empty()) return html;
  std::string rows;
  for (const auto& slot : facts.report.slots) {
    const auto warning = archive::warning_of(slot);
    rows += row({escaped(slot.kept.name), slot.kept.restart_lsn.to_string(),
                 format_size(slot.retained), slot.active_pid ? "in use" : "not in use",
                 warning ? badge_html(status::Level::warning) + " " + escaped(*warning) : ""});
  }
  return html + "<h3>Slots of clients</h3>\n" +
         table({"slot", "keeps WAL from", "holds back", "", ""}, rows);
}

}  // namespace weir::web
