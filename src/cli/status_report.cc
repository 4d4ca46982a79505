#include "cli/status_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/units.h"

namespace weir::cli {

namespace {

using Json = nlohmann::json;

std::string_view form_name(codec::Method method) {
  switch (method) {
    case codec::Method::none:
      return "raw";
    case codec::Method::gzip:
      return "gzip";
    case codec::Method::lz4:
      return "lz4";
    case codec::Method::zstd:
      return "zstd";
  }
  return "unknown";
}

std::string counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

/// The receiver's answer; null if it is no JSON object.
Json receiver_json(const StatusReport& report) {
  if (!report.receiver) return nullptr;
  auto json = Json::parse(*report.receiver, nullptr, false);
  return json.is_object() ? json : Json(nullptr);
}

std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

bool disk_full(const Json& receiver) { return text_of(receiver, "state") == "disk full"; }

StatusReport::Timeline& timeline_of(StatusReport& report, wal::TimelineId timeline) {
  auto& all = report.timelines;
  const auto at = std::lower_bound(
      all.begin(), all.end(), timeline,
      [](const StatusReport::Timeline& one, wal::TimelineId id) { return one.timeline < id; });
  if (at != all.end() && at->timeline == timeline) return *at;
  StatusReport::Timeline fresh;
  fresh.timeline = timeline;
  return *all.insert(at, std::move(fresh));
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
  }
  if (const auto count = json.value("segments_to_compress", std::uint64_t{0}); count > 0)
    text += fmt::format("  to be compressed: {}\n", counted(count, "segment"));
  if (json.contains("slot")) text += fmt::format("  slot: {}\n", text_of(json, "slot"));
  if (json.contains("slot_warning"))
    text += fmt::format("  WARNING: {}\n", text_of(json, "slot_warning"));
  if (json.contains("last_error"))
    text += fmt::format("  last error: {}: {}\n", text_of(json, "last_error_time"),
                        text_of(json, "last_error"));
  return text;
}

std::string timeline_text(const StatusReport::Timeline& one) {
  auto text = fmt::format("  timeline {}: ", one.timeline);
  if (one.segments == 0) {
    text += "no finished segment";
  } else {
    if (one.from) text += fmt::format("{} to {}, ", one.from->to_string(), one.to->to_string());
    text += counted(one.segments, "segment");
    std::string forms;
    for (const auto& [method, form] : one.forms)
      forms += fmt::format("{}{} {}, {}", forms.empty() ? "" : "; ", form.count, form_name(method),
                           format_size(form.bytes));
    text += fmt::format(" ({})", forms);
  }
  if (one.timeline > 1 && !one.history) text += ", NO history file";
  text += "\n";
  for (const auto& partial : one.partials)
    text += fmt::format("    {} ({})\n", partial.name.to_string(), format_size(partial.bytes));
  return text;
}

}  // namespace

void describe_listing(StatusReport& report, const archive::Listing& listing,
                      const archive::Timelines& timelines) {
  const auto size = report.segment_size;
  const wal::SegmentName* previous = nullptr;
  for (const auto& entry : listing.segments) {
    const auto& name = entry.name.segment;
    auto& timeline = timeline_of(report, name.timeline());
    if (entry.name.partial) {
      timeline.partials.push_back(entry);
      continue;
    }
    auto& form = timeline.forms[entry.name.method];
    ++form.count;
    form.bytes += entry.bytes;
    // Several forms of one segment stand side by side in the listing.
    if (previous == nullptr || *previous != name) ++timeline.segments;
    previous = &name;
    if (!size || !name.fits(*size)) continue;
    if (!timeline.from) timeline.from = name.start(*size);
    timeline.to = name.start(*size) + size->bytes();
  }
  for (const auto& history : listing.histories)
    timeline_of(report, history.timeline).history = true;
  for (const auto& complaint : timelines.complaints())
    report.damaged.push_back(fmt::format("{}: {}", complaint.file, complaint.what));
  report.foreign = listing.foreign;
  if (!size) return;

  report.coverage = archive::coverage(listing, timelines, *size);
  std::set<std::pair<wal::Lsn, wal::Lsn>> seen;  // two timelines share their ancestors' holes
  for (const auto& way : report.coverage) {
    for (std::size_t i = 1; i < way.ranges.size(); ++i) {
      const auto from = way.ranges[i - 1].end;
      const auto to = way.ranges[i].begin;
      if (seen.emplace(from, to).second)
        report.holes.push_back({way.timeline, from, to, (to - from) / size->bytes()});
    }
  }
}

std::vector<std::string> check(const StatusReport& report) {
  std::vector<std::string> found;
  for (const auto& hole : report.holes)
    found.push_back(fmt::format("{} missing from {} to {} (timeline {})",
                                counted(hole.segments, "segment"), hole.from.to_string(),
                                hole.to.to_string(), hole.timeline));
  const auto receiver = receiver_json(report);
  if (report.receiver_error)
    found.push_back(*report.receiver_error);
  else if (receiver.is_null())
    found.emplace_back("no receiver runs on the archive");
  else if (disk_full(receiver))
    found.emplace_back("the disk is full");
  return found;
}

std::string status_text(const StatusReport& report) {
  auto text = fmt::format("Archive {}: ", report.directory);
  if (report.timelines.empty())
    text += "empty\n";
  else if (report.identity)
    text += fmt::format("system {}, segments of {}\n", report.identity->system_identifier,
                        format_size(report.identity->segment_size.bytes()));
  else
    text += "no segment tells whose WAL it is\n";
  for (const auto& timeline : report.timelines) text += timeline_text(timeline);
  for (const auto& way : report.coverage) {
    if (way.ranges.empty()) continue;
    text += fmt::format("  a recovery to timeline {} finds: ", way.timeline);
    for (std::size_t i = 0; i < way.ranges.size(); ++i)
      text += fmt::format("{}{} to {}", i == 0 ? "" : ", ", way.ranges[i].begin.to_string(),
                          way.ranges[i].end.to_string());
    text += "\n";
  }
  for (const auto& hole : report.holes)
    text += fmt::format("  HOLE: {} missing from {} to {} on the way to timeline {}\n",
                        counted(hole.segments, "segment"), hole.from.to_string(),
                        hole.to.to_string(), hole.timeline);
  for (const auto& what : report.damaged) text += fmt::format("  DAMAGED: {}\n", what);
  if (!report.foreign.empty()) {
    constexpr std::size_t kMost = 5;
    text += fmt::format("  not WAL: {}", counted(report.foreign.size(), "file"));
    for (std::size_t i = 0; i < std::min(kMost, report.foreign.size()); ++i)
      text += fmt::format("{}{}", i == 0 ? ": " : ", ", report.foreign[i]);
    text += report.foreign.size() > kMost ? ", ...\n" : "\n";
  }
  text += fmt::format("  free: {}\n", format_size(report.free_bytes));
  return text + receiver_text(report);
}

std::string status_json(const StatusReport& report) {
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
    timeline["forms"] = Json::object();
    for (const auto& [method, form] : one.forms)
      timeline["forms"][std::string(form_name(method))] = {{"files", form.count},
                                                           {"bytes", form.bytes}};
    timeline["partial"] = Json::array();
    for (const auto& partial : one.partials)
      timeline["partial"].push_back({{"name", partial.name.to_string()}, {"bytes", partial.bytes}});
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
    json["holes"].push_back({{"timeline", hole.timeline},
                             {"from", hole.from.to_string()},
                             {"to", hole.to.to_string()},
                             {"segments", hole.segments}});
  json["foreign"] = report.foreign;
  json["damaged"] = report.damaged;
  json["receiver"] = receiver_json(report);
  if (report.receiver_error) json["receiver_error"] = *report.receiver_error;
  json["problems"] = check(report);
  // File names need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir::cli
