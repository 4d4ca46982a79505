#include "status/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "archive/difference_json.h"
#include "base/units.h"
#include "codec/names.h"
#include "status/json_words.h"
#include "status/picture.h"
#include "status/serving_text.h"

namespace weir::status {

namespace {

using Json = nlohmann::json;

std::string receiver_text(const StatusReport& report);
std::string candidates_text(const Json& receiver);
std::string comparison_text(const Json& receiver);
std::string store_text(const Json& receiver);
std::string certificates_text(const Json& receiver);
std::string timeline_text(const StatusReport& report, const StatusReport::Timeline& one);
std::string only_stored_text(const StatusReport& report, const StatusReport::Timeline& one);
std::string window_text(const StatusReport::Window& window);
std::string upstream_text(const StatusReport& report);
Json commit_json(const std::optional<wal::Commit>& commit);
Json upstream_json(const StatusReport& report);
Json receiver_json(const StatusReport& report);
Json beside_json(const Beside& beside);
void add_store(Json& json, const StoreSide& side);
std::string counted(std::uint64_t count, std::string_view noun);
Json acknowledgement_json(const std::optional<archive::Loss::Acknowledgement>& acknowledged);
std::string settled(const std::string& id,
                    const std::optional<archive::Loss::Acknowledgement>& acknowledged);

}  // namespace

std::string status_text(const StatusReport& report, int width, bool utf8) {
  auto text = fmt::format("Archive {}: ", report.directory);
  if (report.timelines.empty())
    text +=
        "empty\n  no WAL is here: is this the archive's directory, and is its file system "
        "mounted?\n";
  else if (report.identity)
    text += fmt::format("system {}, segments of {}\n", report.identity->system_identifier,
                        format_size(report.identity->segment_size.bytes()));
  else
    text += "no segment tells whose WAL it is\n";
  for (const auto& timeline : report.timelines) text += timeline_text(report, timeline);
  text += picture(report, width, utf8);
  for (const auto& hole : report.holes)
    text +=
        fmt::format("  HOLE: {} missing from {} to {} on the way to timeline {}\n    {}\n{}",
                    counted(hole.segments, "segment"), hole.from.to_string(), hole.to.to_string(),
                    hole.timeline, hole.cause, settled(hole.id, hole.acknowledged));
  for (const auto& loss : report.lost_branches) {
    const auto first = loss.first_segment().to_string();
    const auto last = loss.last_segment().to_string();
    text += fmt::format(
        "  LOST BY A FAILOVER: {} from {} to {} on timeline {}{} {} not on timeline {}; here it "
        "is, in "
        "{}\n{}",
        format_size(loss.end - loss.begin), loss.begin, loss.end, loss.timeline,
        loss.commits ? ", " + counted(*loss.commits, "commit") + "," : "",
        loss.commits == 1 ? "is" : "are", loss.next_timeline,
        first == last ? first : first + " to " + last, settled(loss.id(), loss.acknowledged));
  }
  for (const auto& each : report.unvouched)
    text += fmt::format(
        "  NOT VOUCHED FOR: {}\n    \"pgweir import\" looks again when the rest is "
        "there.\n",
        each.text());
  for (const auto& each : report.published_open)
    text += fmt::format("  PUBLISHED UNFINISHED: {}\n", each.text());
  constexpr std::size_t kMostWindows = 8;
  for (std::size_t i = 0; i < std::min(kMostWindows, report.windows.size()); ++i)
    text += window_text(report.windows[i]);
  if (report.windows.size() > kMostWindows)
    text += fmt::format("  and {} more, in --json\n", report.windows.size() - kMostWindows);
  for (const auto& what : report.damaged) text += fmt::format("  DAMAGED: {}\n", what);
  if (!report.foreign.empty()) {
    constexpr std::size_t kMost = 5;
    text += fmt::format("  not WAL: {}", counted(report.foreign.size(), "file"));
    for (std::size_t i = 0; i < std::min(kMost, report.foreign.size()); ++i)
      text += fmt::format("{}{}", i == 0 ? ": " : ", ", report.foreign[i]);
    text += report.foreign.size() > kMost ? ", ...\n" : "\n";
  }
  // The store alone has no end.
  const auto free_text = report.store && report.directory == report.store->place
                             ? std::string()
                             : fmt::format("; free: {}", format_size(report.free_bytes));
  if (const auto ratio = compression_ratio(report))
    text += fmt::format("  compression ratio: {:.1f}{}\n", *ratio, free_text);
  else if (!free_text.empty())
    text += "  " + free_text.substr(2) + "\n";
  return text + receiver_text(report) + relays_text(report) + slots_text(report) +
         upstream_text(report) + beside_text(report) +
         (report.store ? store_text(*report.store) : "");
}

std::string status_json(const StatusReport& report, const std::optional<Verdict>& verdict) {
  Json json;
  json["directory"] = report.directory;
  json["free_bytes"] = report.free_bytes;
  if (report.identity)  // as text: more than a JSON reader's number may hold
    json["system_identifier"] = std::to_string(report.identity->system_identifier);
  if (report.segment_size) json["segment_size"] = report.segment_size->bytes();
  json["timelines"] = Json::array();
  for (const auto& one : report.timelines) {
    Json timeline;
    timeline["timeline"] = one.timeline;
    timeline["history_file"] = one.history;
    timeline["segments"] = one.segments;
    if (one.from) {
      timeline["from"] = one.from->to_string();
      timeline["to"] = one.to->to_string();
    }
    timeline["only_stored"] = Json::array();
    for (const auto& range : one.only_stored)
      timeline["only_stored"].push_back(
          {{"from", report.segment_size->start(range.begin).to_string()},
           {"to", report.segment_size->start(range.end).to_string()},
           {"segments", range.end - range.begin}});
    timeline["first_commit"] = commit_json(one.ends.first);
    timeline["last_commit"] = commit_json(one.ends.last);
    if (one.ends.end.valid()) timeline["last_record_end"] = one.ends.end.to_string();
    timeline["forms"] = Json::object();
    for (const auto& [method, form] : one.forms)
      timeline["forms"][std::string(codec::form_name(method))] = {{"files", form.count},
                                                                  {"bytes", form.bytes}};
    timeline["partial"] = Json::array();
    for (const auto& partial : one.partials)
      timeline["partial"].push_back(
          {{"name", partial.name.to_string()}, {"bytes", partial.bytes.value()}});
    json["timelines"].push_back(std::move(timeline));
  }
  json["coverage"] = Json::array();
  for (const auto& way : report.coverage) {
    Json ranges = Json::array();
    for (const auto& range : way.ranges)
      ranges.push_back({{"from", range.begin.to_string()}, {"to", range.end.to_string()}});
    json["coverage"].push_back({{"timeline", way.timeline}, {"ranges", std::move(ranges)}});
  }
  json["holes"] = Json::array();
  for (const auto& hole : report.holes)
    json["holes"].push_back({{"id", hole.id},
                             {"timeline", hole.timeline},
                             {"from", hole.from.to_string()},
                             {"to", hole.to.to_string()},
                             {"segments", hole.segments},
                             {"sound_end", std::max(hole.from, hole.sound_end).to_string()},
                             {"cause", hole.cause},
                             {"acknowledged", acknowledgement_json(hole.acknowledged)}});
  json["lost_branches"] = Json::array();
  for (const auto& loss : report.lost_branches)
    json["lost_branches"].push_back(
        {{"id", loss.id()},
         {"timeline", loss.timeline},
         {"next_timeline", loss.next_timeline},
         {"from", loss.begin.to_string()},
         {"to", loss.end.to_string()},
         {"commits", loss.commits ? Json(*loss.commits) : Json(nullptr)},
         {"counted_to", loss.counted_to.to_string()},
         {"segments", {loss.first_segment().to_string(), loss.last_segment().to_string()}},
         {"found", loss.found},
         {"server", loss.server},
         {"acknowledged", acknowledgement_json(loss.acknowledged)}});
  json["not_vouched_for"] = Json::array();
  for (const auto& each : report.unvouched)
    json["not_vouched_for"].push_back({{"timeline", each.timeline},
                                       {"from", each.begin.to_string()},
                                       {"to", each.end.to_string()},
                                       {"on_the_left", each.left},
                                       {"on_the_right", each.right},
                                       {"found", each.found},
                                       {"source", each.source},
                                       {"what", each.text()}});
  json["published_open"] = Json::array();
  for (const auto& each : report.published_open)
    json["published_open"].push_back({{"segment", each.segment.to_string()},
                                      {"end", each.end.to_string()},
                                      {"object", each.object},
                                      {"time", each.time},
                                      {"forced", each.forced}});
  json["windows"] = Json::array();
  for (const auto& window : report.windows) {
    Json one{{"timeline", window.timeline},
             {"from", window.from.to_string()},
             {"to", window.to.to_string()},
             {"with_partial", window.with_partial}};
    if (window.stored_from) one["stored_from"] = window.stored_from->to_string();
    if (window.from_time) one["from_time"] = window.from_time->to_string();
    if (window.to_time) one["to_time"] = window.to_time->to_string();
    json["windows"].push_back(std::move(one));
  }
  // The store alone has no end.
  const auto free_text = report.store && report.directory == report.store->place
                             ? std::string()
                             : fmt::format("; free: {}", format_size(report.free_bytes));
  if (const auto ratio = compression_ratio(report)) json["compression_ratio"] = *ratio;
  json["foreign"] = report.foreign;
  json["damaged"] = report.damaged;
  json["receiver"] = receiver_json(report);
  if (const auto& receiver = json["receiver"]; receiver.is_object() && receiver.contains("store"))
    json["store"] = receiver["store"];
  if (report.receiver_error) json["receiver_error"] = *report.receiver_error;
  json["relays"] = relays_json(report);
  if (!report.relay_errors.empty()) json["relay_errors"] = report.relay_errors;
  json["slots"] = slots_json(report);
  if (report.slots_error) json["slots_error"] = *report.slots_error;
  if (const auto lag = lag_of(report)) json["lag_bytes"] = *lag;
  if (report.upstream) json["upstream"] = upstream_json(report);
  if (report.upstream_error) json["upstream_error"] = *report.upstream_error;
  if (!report.upstream_hint.empty()) json["upstream_hint"] = report.upstream_hint;
  if (report.beside) json["beside"] = beside_json(*report.beside);
  if (report.store) add_store(json["store"], *report.store);
  const auto found = verdict ? *verdict : check(report, {});
  json["problems"] = Json::array();
  json["findings"] = Json::array();
  for (const auto& finding : found.findings) {
    json["problems"].push_back(finding.text);
    json["findings"].push_back({{"level", to_string(finding.level)},
                                {"topic", to_string(finding.topic)},
                                {"text", finding.text}});
  }
  json["level"] = to_string(found.level);
  if (verdict)
    json["check"] = {{"status", to_string(verdict->level)},
                     {"exit_status", static_cast<int>(verdict->level)},
                     {"line", verdict->line}};
  // File names need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

namespace {

std::string counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

Json acknowledgement_json(const std::optional<archive::Loss::Acknowledgement>& acknowledged) {
  if (!acknowledged) return nullptr;
  return {
      {"time", acknowledged->time}, {"who", acknowledged->who}, {"reason", acknowledged->reason}};
}

/// The line under a loss.
std::string settled(const std::string& id,
                    const std::optional<archive::Loss::Acknowledgement>& acknowledged) {
  if (!acknowledged) return fmt::format("    {}: \"pgweir ack\" when it is settled\n", id);
  return fmt::format("    {}: acknowledged by {} at {}{}{}\n", id, acknowledged->who,
                     acknowledged->time, acknowledged->reason.empty() ? "" : ": ",
                     acknowledged->reason);
}

/// The receiver's answer; null if it is no JSON object.
Json receiver_json(const StatusReport& report) {
  if (!report.receiver) return nullptr;
  auto json = Json::parse(*report.receiver, nullptr, false);
  return json.is_object() ? json : Json(nullptr);
}

std::string comparison_text(const Json& receiver) {
  const auto found = receiver.find("comparison");
  if (found == receiver.end() || !found->is_object()) return {};
  auto text = fmt::format("  compared with {}: {}", word_of(*found, "with"),
                          word_of(*found, "lsn") == "-"
                              ? std::string("nothing yet")
                              : fmt::format("up to {}, {}", word_of(*found, "lsn"),
                                            format_size(found->value("bytes", std::uint64_t{0}))));
  const auto differences = found->value("differences", std::uint64_t{0});
  text += differences == 0
              ? ", no difference\n"
              : fmt::format("\n  CRITICAL: other WAL in {}: {}\n", counted(differences, "segment"),
                            found->value("difference", ""));
  if (found->contains("problem"))
    text += fmt::format("  WARNING: it cannot be compared: {}\n", found->value("problem", ""));
  return text;
}

/// "store: s3://wal/p/main: 12 segments (192 MB) behind, the oldest since …".
std::string store_text(const Json& receiver) {
  const auto found = receiver.find("store");
  if (found == receiver.end() || !found->is_object()) return {};
  const auto& store = *found;
  auto text = fmt::format("  store: {}: ", word_of(store, "store"));
  const auto segments = store.value("pending_segments", std::uint64_t{0});
  const auto histories = store.value("pending_histories", std::uint64_t{0});
  if (segments + histories == 0)
    text += store.contains("sent_to")
                ? fmt::format("all is there, up to {}", store.value("sent_to", ""))
                : std::string("nothing to send");
  else
    text += fmt::format("{} ({}) behind, the oldest since {}",
                        segments > 0 ? counted(segments, "segment") : std::string("a history"),
                        format_size(store.value("pending_bytes", std::uint64_t{0})),
                        word_of(store, "pending_since"));
  text += "\n";
  if (store.contains("since")) {
    text += fmt::format("  {}: since {}: {}\n",
                        store.value("needs_person", false) ? "CRITICAL" : "WARNING",
                        word_of(store, "since"), word_of(store, "last_error"));
    if (store.contains("hint")) text += fmt::format("    {}\n", store.value("hint", ""));
    if (store.contains("next_try"))
      text += fmt::format("    next try at {}\n", store.value("next_try", ""));
  }
  if (const auto again = store.value("sent_again", std::uint64_t{0}); again > 0)
    text += fmt::format("  WARNING: {} had been sent, and had to be sent again\n",
                        counted(again, "segment"));
  if (const auto unseen = store.value("not_compared", std::uint64_t{0}); unseen > 0)
    text += fmt::format("    {} segments are present there, not compared\n", unseen);
  if (const auto chain = store.find("manifest"); chain != store.end() && chain->is_object())
    text += fmt::format("    manifest {}: {} lines, {}; head {}\n", word_of(*chain, "chain"),
                        chain->value("lines", std::uint64_t{0}),
                        chain->value("signed", false) ? "signed" : "not signed",
                        word_of(*chain, "head"));
  if (store.contains("kept_for"))
    text += fmt::format("  --keep-local removes nothing more: {}\n", store.value("kept_for", ""));
  return text;
}

/// Until when those are valid that the connection to the server is made with.
std::string certificates_text(const Json& receiver) {
  const auto found = receiver.find("certificates");
  if (found == receiver.end() || !found->is_object()) return {};
  std::string text;
  if (found->contains("client_expires"))
    text += fmt::format("own until {}", word_of(*found, "client_expires"));
  if (found->contains("server_expires"))
    text += fmt::format("{}the server's until {}", text.empty() ? "" : ", ",
                        word_of(*found, "server_expires"));
  if (!text.empty()) text = "  certificates: " + text + "\n";
  if (found->contains("problem"))
    text +=
        fmt::format("  WARNING: no new connection could be made: {}\n", word_of(*found, "problem"));
  return text;
}

/// What a failover to each of the other servers would cost.
std::string candidates_text(const Json& receiver) {
  const auto candidates = receiver.find("candidates");
  if (candidates == receiver.end() || !candidates->is_array()) return {};
  std::string text;
  for (const auto& candidate : *candidates) {
    if (!candidate.is_object()) continue;
    text += fmt::format("  failover to {}: ", word_of(candidate, "host"));
    if (candidate.value("covered", false)) {
      text += fmt::format("covered, its slot keeps WAL from {} on", word_of(candidate, "slot_lsn"));
      if (const auto lag = candidate.find("slot_lag_bytes");
          lag != candidate.end() && lag->is_number_unsigned())
        text += fmt::format(" ({})", format_size(lag->get<std::uint64_t>()));
      text += "\n";
    } else if (candidate.contains("silent_since")) {
      text += fmt::format("not covered, no answer since {}: {}\n",
                          word_of(candidate, "silent_since"), word_of(candidate, "reason"));
      text +=
          word_of(candidate, "answered") == "-"
              ? "    it has not answered before\n"
              : fmt::format("    at its last answer, {}, it was {}; its slot kept WAL from {} on\n",
                            word_of(candidate, "answered"),
                            candidate.value("was_covered", false) ? "covered" : "not covered",
                            word_of(candidate, "slot_lsn"));
    } else {
      text += fmt::format("not covered: {}\n", word_of(candidate, "reason"));
    }
  }
  return text;
}

/// --confirm stored: what the server was told, and so what its slot holds.
std::string confirmed_text(const Json& json) {
  if (text_of(json, "confirm") != "stored") return {};
  const auto told = wal::Lsn::parse(text_of(json, "confirmed_lsn"));
  const auto durable = wal::Lsn::parse(text_of(json, "flush_lsn"));
  if (!told || !durable) return {};
  if (!told->valid())
    return "  the server was told of no position (--confirm stored): its slot keeps all WAL from "
           "where it is\n";
  if (*told >= *durable) return "  the store has all of that, and the server was told so\n";
  return fmt::format(
      "  confirmed to the server: up to {} (--confirm stored); its slot keeps the other {} until "
      "the store has them\n",
      *told, format_size(*durable - *told));
}

std::string receiver_text(const StatusReport& report) {
  if (report.receiver_error) return fmt::format("Receiver: {}\n", *report.receiver_error);
  const auto json = receiver_json(report);
  if (json.is_null()) return "Receiver: none runs\n";
  auto text = fmt::format("Receiver: {}", text_of(json, "state"));
  if (const auto server = text_of(json, "server"); !server.empty())
    text += fmt::format(", server {}", server);
  text += fmt::format(", since {} (pid {})\n", text_of(json, "state_since"), text_of(json, "pid"));
  if (json.contains("flush_lsn")) {
    text += fmt::format("  durable up to {} on timeline {}", text_of(json, "flush_lsn"),
                        text_of(json, "timeline"));
    const auto lag = json.value("lag_bytes", std::uint64_t{0});
    text += lag == 0 ? ", caught up" : fmt::format(", {} behind the server", format_size(lag));
    text += fmt::format("\n  last message of the server: {}\n", text_of(json, "last_message"));
    text += confirmed_text(json);
  }
  if (const auto syncs = json.find("syncs"); syncs != json.end() && syncs->is_object()) {
    const auto time = [&](const char* key) {
      const auto ms = syncs->value(key, 0.0);
      return ms < 1000 ? fmt::format("{:.3g} ms", ms) : fmt::format("{:.3g} s", ms / 1000);
    };
    text += fmt::format(
        "  syncs of the last {} minutes: half took up to {}, 99 of 100 up to {}, the longest {}\n",
        syncs->value("seconds", 0) / 60, time("p50_ms"), time("p99_ms"), time("worst_ms"));
  }
  if (const auto count = json.value("segments_to_compress", std::uint64_t{0}); count > 0)
    text += fmt::format("  to be compressed: {}\n", counted(count, "segment"));
  if (json.contains("slot")) text += fmt::format("  slot: {}\n", text_of(json, "slot"));
  text += candidates_text(json);
  if (json.contains("clients")) text += clients_text(json["clients"]);
  text += comparison_text(json);
  text += store_text(json) + certificates_text(json);
  if (json.contains("slot_warning"))
    text += fmt::format("  WARNING: {}\n", text_of(json, "slot_warning"));
  if (json.contains("last_error"))
    text += fmt::format("  last error: {}: {}\n", text_of(json, "last_error_time"),
                        text_of(json, "last_error"));
  return text;
}

std::string commit_text(std::string_view which, const std::optional<wal::Commit>& commit) {
  if (!commit) return {};
  return fmt::format("    {} commit {} at {}\n", which, commit->time.to_string(), commit->start);
}

std::string timeline_text(const StatusReport& report, const StatusReport::Timeline& one) {
  auto text = fmt::format("  timeline {}: ", one.timeline);
  if (one.segments == 0) {
    text += one.only_stored.empty() ? "no finished segment" : "no finished segment here";
  } else {
    if (one.from) text += fmt::format("{} to {}, ", one.from->to_string(), one.to->to_string());
    text += counted(one.segments, "segment");
    std::string forms;
    for (const auto& [method, form] : one.forms)
      forms += fmt::format("{}{} {}, {}", forms.empty() ? "" : "; ", form.count,
                           codec::form_name(method), format_size(form.bytes));
    text += fmt::format(" ({})", forms);
  }
  if (one.timeline > 1 && !one.history) text += ", NO history file";
  text += "\n" + only_stored_text(report, one);
  for (const auto& partial : one.partials)
    text +=
        fmt::format("    {} ({})\n", partial.name.to_string(), format_size(partial.bytes.value()));
  return text + commit_text("first", one.ends.first) + commit_text("last ", one.ends.last);
}

std::string only_stored_text(const StatusReport& report, const StatusReport::Timeline& one) {
  if (one.only_stored.empty()) return {};
  const auto& size = *report.segment_size;
  std::uint64_t count = 0;
  for (const auto& range : one.only_stored) count += range.end - range.begin;
  return fmt::format("    only in the object store: {} to {}, {}{}\n",
                     size.start(one.only_stored.front().begin),
                     size.start(one.only_stored.back().end), counted(count, "segment"),
                     one.only_stored.size() > 1 ? ", in several rows" : "");
}

std::string place(wal::Lsn lsn, const std::optional<wal::PgTime>& time) {
  return time ? fmt::format("{} ({})", lsn, time->to_string()) : lsn.to_string();
}

std::string window_text(const StatusReport::Window& window) {
  auto text = fmt::format(
      "  Timeline {}: a base backup that began at {} or later can be recovered to any moment\n"
      "    from its own end up to {}",
      window.timeline, place(window.from, window.from_time), place(window.to, window.to_time));
  if (!window.newest)
    text +=
        ", where WAL is missing;\n    the last bytes before that with \"pgweir restore "
        "--up-to-hole\"";
  if (window.stored_from)
    text += fmt::format(",\n    with \"pgweir restore --store\" one that began at {} or later",
                        *window.stored_from);
  if (window.with_partial) text += ",\n    the last bytes with \"pgweir restore --partial\"";
  return text + ".\n";
}

std::string hint_text(const std::string& hint) {
  return hint.empty() ? std::string() : fmt::format("  hint: {}\n", hint);
}

std::string upstream_text(const StatusReport& report) {
  if (report.upstream_error)
    return fmt::format("Server: could not be asked: {}\n{}", *report.upstream_error,
                       hint_text(report.upstream_hint));
  if (!report.upstream) return {};
  const auto& upstream = *report.upstream;
  auto text = fmt::format("Server {}: timeline {}, at {}", upstream.server, upstream.timeline,
                          upstream.position);
  const auto remark = report.branch ? archive::remark_on(*report.branch, place_of(upstream))
                                    : archive::BranchRemark{};
  if (upstream.standby) text += *upstream.standby ? ", a standby" : ", a primary";
  const auto lag = lag_of(report);
  if (lag && (remark.what.empty() || *lag == 0))
    text += *lag == 0 ? ", all of it in the archive"
                      : fmt::format(", the archive is {} behind", format_size(*lag));
  text += "\n";
  if (!remark.what.empty())
    text += fmt::format("  WARNING: {}\n    {}\n", remark.what, remark.todo);
  if (report.identity && report.identity->system_identifier != upstream.system_identifier)
    text += fmt::format("  WARNING: it is another cluster, {}\n", upstream.system_identifier);
  if (const auto& names = upstream.synchronous_standby_names;
      names && names->find('*') != std::string::npos && upstream.standby != true)
    text += fmt::format(
        "  note: synchronous_standby_names is '{}': whoever is connected counts, so a commit may "
        "be confirmed by the archive alone. Write names (docs/ha.md)\n",
        *names);
  if (upstream.slot) {
    const auto& slot = *upstream.slot;
    text += fmt::format("  slot {}: ", slot.name);
    if (!slot.exists) {
      text += "does not exist\n";
    } else {
      text += slot.restart_lsn ? fmt::format("keeps WAL from {} on", *slot.restart_lsn)
                               : std::string("keeps no WAL");
      if (slot.wal_status && !slot.wal_status->empty()) text += ", " + *slot.wal_status;
      if (slot.active) text += *slot.active ? ", in use" : ", not in use";
      text += "\n";
    }
  }
  if (upstream.slot_error)
    text += fmt::format("  the slot's wal_status could not be read: {}\n{}", *upstream.slot_error,
                        hint_text(upstream.slot_hint));
  return text;
}

void add_store(Json& json, const StoreSide& side) {
  json["place"] = side.place;
  if (!side.error.empty()) {
    json["last_error"] = side.error;
    return;
  }
  json["timelines"] = Json::array();
  for (const auto& end : side.ends)
    json["timelines"].push_back({{"timeline", end.timeline},
                                 {"first", end.first},
                                 {"last", end.last},
                                 {"segments", end.segments},
                                 {"bytes", end.bytes}});
  json["open"] = side.open;
  json["pending_segments"] = side.pending_segments;
  json["pending_bytes"] = side.pending_bytes;
  json["pending_histories"] = side.pending_histories;
  if (side.manifest) json["manifest"] = Json::parse(store::to_json(*side.manifest));
  json["oldest_pending"] = side.oldest_pending.empty() ? Json(nullptr) : Json(side.oldest_pending);
  json["oldest_pending_seconds"] =
      side.oldest_pending_age ? Json(side.oldest_pending_age->count()) : Json(nullptr);
}

Json beside_json(const Beside& beside) {
  Json json{{"directory", beside.directory}};
  if (!beside.difference) {
    json["error"] = beside.error;
    return json;
  }
  archive::add_difference(json, *beside.difference);
  json["both"] = beside.difference->both.size();
  return json;
}

Json commit_json(const std::optional<wal::Commit>& commit) {
  if (!commit) return nullptr;
  return {{"lsn", commit->start.to_string()},
          {"end_lsn", commit->end.to_string()},
          {"time", commit->time.to_string()},
          {"xid", commit->transaction}};
}

Json upstream_json(const StatusReport& report) {
  const auto& upstream = *report.upstream;
  Json json{{"server", upstream.server},
            {"system_identifier", std::to_string(upstream.system_identifier)},
            {"timeline", upstream.timeline},
            {"lsn", upstream.position.to_string()}};
  if (report.identity)
    json["same_cluster"] = report.identity->system_identifier == upstream.system_identifier;
  json["standby"] = upstream.standby ? Json(*upstream.standby) : Json(nullptr);
  if (const auto& branch = report.branch) {
    json["branch"] = {{"relation", archive::to_string(branch->relation)},
                      {"archive_timeline", branch->archive_timeline},
                      {"archive_lsn", branch->archive_end.to_string()},
                      {"missing_bytes", branch->missing()}};
    if (branch->fork.valid()) {
      json["branch"]["fork"] = branch->fork.to_string();
      json["branch"]["fork_timeline"] = branch->fork_timeline;
    }
    if (branch->missing() > 0) {
      json["branch"]["missing_from"] = branch->missing_from.to_string();
      json["branch"]["missing_to"] = branch->missing_to.to_string();
    }
    if (const auto remark = archive::remark_on(*branch, place_of(upstream)); !remark.what.empty()) {
      json["branch"]["what"] = remark.what;
      json["branch"]["todo"] = remark.todo;
    }
  }
  if (upstream.slot) {
    const auto& slot = *upstream.slot;
    Json one{{"name", slot.name}, {"exists", slot.exists}};
    one["restart_lsn"] = slot.restart_lsn ? Json(slot.restart_lsn->to_string()) : Json(nullptr);
    one["wal_status"] = slot.wal_status ? Json(*slot.wal_status) : Json(nullptr);
    one["active"] = slot.active ? Json(*slot.active) : Json(nullptr);
    json["slot"] = std::move(one);
  }
  if (upstream.slot_error) json["slot_error"] = *upstream.slot_error;
  if (!upstream.slot_hint.empty()) json["slot_hint"] = upstream.slot_hint;
  return json;
}

}  // namespace

}  // namespace weir::status
