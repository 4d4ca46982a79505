#include "web/receiver_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "base/json_fields.h"
#include "base/units.h"
#include "status/json_words.h"
#include "web/html.h"
#include "web/words.h"

namespace weir::web {

namespace {

using Json = nlohmann::json;
using status::text_of;

std::string size_of(const Json& json, const char* key) {
  const auto bytes = number_in(json, key);
  return bytes ? format_size(*bytes) : std::string();
}

std::string milliseconds_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? fmt::format("{:.3g} ms", found->get<double>())
                                                   : std::string();
}

/// A term and what it is; nothing if that is not known.
std::string fact(std::string_view term, const std::string& html) {
  if (html.empty()) return {};
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", term, html);
}

std::string slot_html(const Facts& facts, const Json& receiver) {
  const auto name = text_of(receiver, "slot");
  if (name.empty()) return {};
  auto html = escaped(name);
  if (const auto status = text_of(receiver, "slot_wal_status"); !status.empty())
    html += fmt::format(", {}", escaped(status));
  if (const auto retained = size_of(receiver, "slot_retained_bytes"); !retained.empty())
    html += fmt::format(", keeps {}", retained);
  if (const auto safe = number_in(receiver, "slot_safe_wal_size")) {
    html += fmt::format(", {} left before it is lost", format_size(*safe));
    if (facts.history)
      if (const auto time = time_to_invalidation(*safe, *facts.history); !time.empty())
        html += fmt::format(" (about {} as WAL is written now)", time);
  }
  return html;
}

/// What `key` says, behind `words`; nothing if it says nothing.
std::string said(const Json& json, std::string_view words, const char* key) {
  const auto text = text_of(json, key);
  return text.empty() ? std::string() : std::string(words) + escaped(text);
}

/// What the receiver sends to an object store: what waits, and what is the matter with it.
std::string store_html(const Json& receiver) {
  const auto store = receiver.find("store");
  if (store == receiver.end() || !store->is_object()) return {};
  const auto waits = number_in(*store, "pending_segments").value_or(0);
  auto html = escaped(text_of(*store, "store"));
  html += waits == 0
              ? std::string(": has all that is finished")
              : fmt::format(": {} segments wait, {}", waits, size_of(*store, "pending_bytes"));
  if (const auto age = number_in(*store, "oldest_pending_seconds"); waits > 0 && age)
    html += fmt::format(", the oldest for {}",
                        format_duration(std::chrono::seconds(static_cast<std::int64_t>(*age))));
  if (const auto sent = text_of(*store, "sent_to"); !sent.empty())
    html += fmt::format("<br>sent up to {}", escaped(sent));
  if (const auto error = text_of(*store, "last_error"); !error.empty()) {
    const bool person = store->value("needs_person", Json(false)) == Json(true);
    html += fmt::format("<br>{} {}{}",
                        badge_html(person ? status::Level::critical : status::Level::warning),
                        escaped(error), said(*store, ", since ", "since"));
    html += said(*store, "<br>", "hint") + said(*store, "<br>next try at ", "next_try");
  }
  if (const auto again = number_in(*store, "sent_again").value_or(0); again > 0)
    html += fmt::format("<br>{} {} sent, gone from the store, and sent again",
                        badge_html(status::Level::warning), again);
  return html + said(*store, "<br>--local-retention removes nothing more: ", "kept_for");
}

/// Until when those are valid that this side and the server show.
std::string certificates_html(const Json& receiver) {
  const auto shown = receiver.find("certificates");
  if (shown == receiver.end() || !shown->is_object()) return {};
  std::string html;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) html += (html.empty() ? "" : "<br>") + text;
  };
  add(said(*shown, "our own until ", "client_expires"));
  add(said(*shown, "the server's until ", "server_expires"));
  if (const auto problem = text_of(*shown, "problem"); !problem.empty())
    add(badge_html(status::Level::warning) + " " + escaped(problem));
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

std::string client_row(const Json& client) {
  const auto position = [&](const char* lsn, const char* lag) {
    const auto time = milliseconds_of(client, lag);
    return escaped(text_of(client, lsn)) + (time.empty() ? "" : " (" + time + ")");
  };
  const auto slot = text_of(client, "slot_name");
  return row({escaped(text_of(client, "application_name")),
              escaped(text_of(client, "client_addr") + (slot.empty() ? "" : ", slot " + slot)),
              escaped(text_of(client, "state")) + ", " + escaped(text_of(client, "sync_state")),
              size_of(client, "behind_bytes"), position("flush_lsn", "flush_lag_ms"),
              position("replay_lsn", "replay_lag_ms")});
}

std::string clients_html(const Json& clients) {
  if (!clients.is_array()) return {};
  if (clients.empty()) return "<p>Nobody is served now.</p>\n";
  std::vector<Json> sorted;
  for (const auto& client : clients)
    if (client.is_object()) sorted.push_back(client);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Json& a, const Json& b) {
    return number_in(a, "behind_bytes").value_or(0) > number_in(b, "behind_bytes").value_or(0);
  });
  std::string rows;
  constexpr std::size_t kMost = 50;
  for (std::size_t i = 0; i < std::min(kMost, sorted.size()); ++i) rows += client_row(sorted[i]);
  if (sorted.size() > kMost)
    rows += fmt::format("<tr><td colspan=\"6\">and {} more, which are less behind</td></tr>\n",
                        sorted.size() - kMost);
  return table({"client", "from", "state", "behind", "flushed", "replayed"}, rows);
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

std::string receiver_html(const Facts& facts) {
  if (facts.report.receiver_error)
    return fmt::format(
        "<p>{} {}</p>\n",
        badge_html(facts.report.receiver_mute ? status::Level::warning : status::Level::critical),
        escaped(*facts.report.receiver_error));
  const auto receiver = status::receiver_json(facts.report);
  if (receiver.is_null()) {
    const auto& ended = facts.report.ended;
    return fmt::format(
        "<p>No receiver runs{}.</p>\n{}", ended ? "; " + escaped(ended->text()) : "",
        ended && !ended->hint.empty() ? fmt::format("<p>{}</p>\n", escaped(ended->hint)) : "");
  }
  std::string html = "<dl class=\"facts\">\n";
  html += fact("State", escaped(text_of(receiver, "state")) + " since " +
                            escaped(text_of(receiver, "state_since").substr(0, 19)));
  html += fact("Upstream", escaped(text_of(receiver, "server")));
  if (const auto lsn = text_of(receiver, "flush_lsn"); !lsn.empty())
    html += fact("Durable up to", fmt::format("{} on timeline {}", escaped(lsn),
                                              escaped(text_of(receiver, "timeline"))));
  if (const auto lag = number_in(receiver, "lag_bytes"))
    html += fact("Behind the server", *lag == 0 ? "nothing: caught up" : format_size(*lag));
  if (const auto rate = size_of(receiver, "bytes_per_second"); !rate.empty())
    html += fact("Rate", rate + "/s");
  if (const auto syncs = receiver.find("syncs"); syncs != receiver.end() && syncs->is_object())
    html +=
        fact("Syncs of five minutes",
             fmt::format("p50 {}, p99 {}, worst {}", milliseconds_of(*syncs, "p50_ms"),
                         milliseconds_of(*syncs, "p99_ms"), milliseconds_of(*syncs, "worst_ms")));
  html += fact("Slot", slot_html(facts, receiver));
  html += fact("Certificates", certificates_html(receiver));
  html += fact("Object store", store_html(receiver));
  if (const auto raw = number_in(receiver, "segments_to_compress"); raw && *raw > 0)
    html += fact("To compress", fmt::format("{} segments", *raw));
  html += fact("Free", format_size(facts.report.free_bytes));
  if (const auto error = text_of(receiver, "last_error"); !error.empty())
    html += fact("Last error",
                 fmt::format("{}: {}", escaped(text_of(receiver, "last_error_time").substr(0, 19)),
                             escaped(error)));
  return html + "</dl>\n";
}

std::string candidates_html(const Facts& facts) {
  const auto receiver = status::receiver_json(facts.report);
  const auto found = receiver.find("candidates");
  if (!receiver.is_object() || found == receiver.end() || !found->is_array()) return {};
  std::string rows;
  for (const auto& each : *found) {
    if (!each.is_object()) continue;
    const auto covered = each.find("covered");
    const bool good = covered != each.end() && *covered == true;
    rows += row({escaped(text_of(each, "host")),
                 badge_html(good ? status::Level::ok : status::Level::warning) +
                     (good ? " covered" : " not covered"),
                 escaped(text_of(each, "slot_lsn")), escaped(text_of(each, "reason"))});
  }
  return table({"host", "a failover to it", "its slot keeps WAL from", "why"}, rows);
}

std::string downstream_html(const Facts& facts) {
  std::string html;
  const auto receiver = status::receiver_json(facts.report);
  if (receiver.is_object() && receiver.contains("clients"))
    html += clients_html(receiver["clients"]);
  for (const auto& answer : facts.report.relays) {
    const auto relay = Json::parse(answer, nullptr, false);
    if (!relay.is_object()) continue;
    html += fmt::format("<h3>pgweir serve, pid {}</h3>\n", escaped(text_of(relay, "pid")));
    html += clients_html(relay.value("clients", Json()));
  }
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
