#include "verify/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "archive/difference_json.h"
#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "verify/beside.h"
#include "wal/page.h"

namespace weir::verify {

std::string_view to_string(FindingKind kind) {
  switch (kind) {
    case FindingKind::gap:
      return "gap";
    case FindingKind::damage:
      return "damage";
    case FindingKind::broken_file:
      return "broken_file";
    case FindingKind::wrong_name:
      return "wrong_name";
    case FindingKind::other_cluster:
      return "other_cluster";
    case FindingKind::forms_differ:
      return "forms_differ";
    case FindingKind::history:
      return "history";
    case FindingKind::unreadable:
      return "unreadable";
    case FindingKind::not_a_file:
      return "not_a_file";
    case FindingKind::backup:
      return "backup";
    case FindingKind::lost_branch:
      return "lost_branch";
    case FindingKind::minimal_wal:
      return "minimal_wal";
  }
  return "unknown";
}

bool Report::sound() const {
  return records_checked &&
         std::all_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.accepted.has_value(); });
}

std::vector<AcceptedLoss> parse_accepted(std::string_view content, const std::string& path) {
  std::vector<AcceptedLoss> all;
  int number = 0;
  while (!content.empty()) {
    const auto newline = content.find('\n');
    auto line = content.substr(0, newline);
    content = newline == std::string_view::npos ? std::string_view() : content.substr(newline + 1);
    ++number;
    constexpr std::string_view kBlanks = " \t\r";
    const auto next_word = [&] {
      const auto begin = std::min(line.find_first_not_of(kBlanks), line.size());
      line.remove_prefix(begin);
      const auto word = line.substr(0, line.find_first_of(kBlanks));
      line.remove_prefix(word.size());
      return word;
    };
    const auto first = next_word();
    if (first.empty() || first.front() == '#') continue;
    const auto refuse = [&](std::string_view what) {
      return Error(ErrorKind::usage, std::string(what))
          .with("file", path)
          .with("line", number)
          .hint(
              "A line consists of timeline, start, end, and reason, as in \"1 0/5000000 0/6000000 "
              "lost in the fire of 3 May\".");
    };
    AcceptedLoss accepted;
    accepted.line = number;
    const auto timeline = parse_number<wal::TimelineId>(first);
    if (!timeline) throw refuse("an accepted loss has no valid timeline");
    accepted.loss.timeline = *timeline;
    const auto from = wal::Lsn::parse(next_word());
    const auto to = wal::Lsn::parse(next_word());
    if (!from || !to || *to <= *from) throw refuse("an accepted loss has no valid range");
    accepted.loss.from = *from;
    accepted.loss.to = *to;
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) throw refuse("an accepted loss has no reason");
    accepted.reason = line;
    all.push_back(std::move(accepted));
  }
  return all;
}

// ---- for a person

namespace {

std::string place_of(const Finding& finding) {
  std::string text;
  const auto add = [&](const std::string& part) {
    if (!text.empty()) text += ", ";
    text += part;
  };
  if (finding.lsn) add(fmt::format("LSN {}", *finding.lsn));
  if (finding.offset) add(fmt::format("offset {0} (0x{0:X}) in the segment", *finding.offset));
  if (!finding.resource_manager.empty())
    add(fmt::format("resource manager {}", finding.resource_manager));
  return text;
}

void append(std::string& text, const Finding& finding) {
  const auto name = finding.to_file.empty() || finding.to_file == finding.file
                        ? finding.file
                        : fmt::format("{} to {}", finding.file, finding.to_file);
  text += fmt::format("{}{}{}\n", finding.accepted ? "accepted: " : "", name,
                      (name.empty() ? "" : ": ") + finding.what);
  if (const auto place = place_of(finding); !place.empty())
    text += fmt::format("    at: {}\n", place);
  if (finding.accepted) {
    text += fmt::format("    reason: {}\n", *finding.accepted);
    return;
  }
  if (!finding.hint.empty()) text += fmt::format("    what to do: {}\n", finding.hint);
  if (finding.loss)
    text += fmt::format("    to accept this loss: {} {} {} REASON\n", finding.loss->timeline,
                        finding.loss->from, finding.loss->to);
}

void append(std::string& text, const HistoryReport& history, bool records_checked) {
  text += fmt::format("timeline {}", history.timeline);
  if (!history.ancestors.empty()) {
    text += ", by way of";
    for (const auto& ancestor : history.ancestors)
      text += fmt::format(" {} (until {})", ancestor.timeline, ancestor.switchpoint);
  }
  text +=
      fmt::format(": {} {}\n", history.segments, history.segments == 1 ? "segment" : "segments");
  if (history.sound.empty()) text += "    no sound WAL\n";
  for (const auto& range : history.sound)
    text += fmt::format("    {} from {} to {} ({})\n", records_checked ? "sound" : "not checked",
                        range.begin, range.end, format_size(range.end - range.begin));
  if (!history.partial.empty())
    text += fmt::format("    the last of it is in {}\n", history.partial);
}

}  // namespace

std::string to_text(const Report& report, std::size_t most_findings) {
  std::string text = fmt::format("archive {}", report.path);
  if (report.system_identifier != 0)
    text += fmt::format(", cluster {}, segments of {}", report.system_identifier,
                        format_size(report.segment_size));
  if (report.server_major) text += fmt::format(", PostgreSQL {}", *report.server_major);
  text += "\n\n";
  for (const auto& history : report.histories) append(text, history, report.records_checked);

  const auto open = static_cast<std::size_t>(
      std::count_if(report.findings.begin(), report.findings.end(),
                    [](const Finding& finding) { return !finding.accepted; }));
  if (!report.findings.empty()) text += "\n";
  for (std::size_t i = 0; i < std::min(most_findings, report.findings.size()); ++i)
    append(text, report.findings[i]);
  if (report.findings.size() > most_findings)
    text += fmt::format("… and {} more; --json lists all of them\n",
                        report.findings.size() - most_findings);
  if (!report.notes.empty()) text += "\n";
  for (const auto& note : report.notes) text += fmt::format("note: {}\n", note);
  if (report.backup) text += fmt::format("\nbackup: {}\n", report.backup->verdict);

  const auto seconds = static_cast<double>(report.elapsed.count()) / 1000;
  text += fmt::format("\nchecked {} in {} files, {} records, in {}", format_size(report.wal_bytes),
                      report.segments, report.records, format_duration(report.elapsed));
  if (seconds > 0.1)
    text += fmt::format(
        " ({}/s)",
        format_size(static_cast<std::uint64_t>(static_cast<double>(report.wal_bytes) / seconds)));
  text += "\n";
  if (open > 0)
    text += fmt::format("NOT SOUND: {} {}\n", open, open == 1 ? "finding" : "findings");
  else if (!report.records_checked)
    text += fmt::format(
        "NOT CHECKED: {} was read by the rules of PostgreSQL {}, the newest version that this "
        "pgweir knows; it is unknown whether a recovery finds everything; use a newer pgweir\n",
        report.records == 0 ? std::string("no record")
                            : fmt::format("each record ({} in all)", report.records),
        wal::kNewestKnownMajor);
  else if (!report.findings.empty())
    text += "sound, except for accepted losses\n";
  else
    text += "sound: a recovery over this range finds everything\n";
  return text;
}

// ---- for programs

namespace {

using Json = nlohmann::ordered_json;

Json json_of(const BesideReport& beside) {
  Json json;
  json["archive"] = beside.other;
  json["agrees"] = beside.agrees();
  archive::add_difference(json, beside.names);
  json["unlike"] = Json::array();
  for (const auto& unlike : beside.unlike)
    json["unlike"].push_back({{"kind", to_string(unlike.kind)},
                              {"file", unlike.file},
                              {"beside", unlike.other_file},
                              {"message", unlike.what}});
  json["compared"] = beside.compared;
  json["notes"] = beside.notes;
  return json;
}

}  // namespace

std::string to_json(const Report& report, const BesideReport* beside) {
  const auto lsn = [](const std::optional<wal::Lsn>& value) {
    return value ? Json(value->to_string()) : Json(nullptr);
  };
  const auto text = [](const std::string& value) {
    return value.empty() ? Json(nullptr) : Json(value);
  };
  Json json;
  json["version"] = 1;
  json["archive"] = report.path;
  json["sound"] = report.sound();
  json["records_checked"] = report.records_checked;
  // As text: readers of JSON that know only doubles would round it.
  json["system_identifier"] = report.system_identifier == 0
                                  ? Json(nullptr)
                                  : Json(std::to_string(report.system_identifier));
  json["segment_size"] = report.segment_size;
  json["server_major"] = report.server_major ? Json(*report.server_major) : Json(nullptr);
  json["histories"] = Json::array();
  for (const auto& history : report.histories) {
    Json item;
    item["timeline"] = history.timeline;
    item["ancestors"] = Json::array();
    for (const auto& ancestor : history.ancestors)
      item["ancestors"].push_back(
          {{"timeline", ancestor.timeline}, {"switchpoint", ancestor.switchpoint.to_string()}});
    item["segments"] = history.segments;
    item["sound"] = Json::array();
    for (const auto& range : history.sound)
      item["sound"].push_back({{"begin", range.begin.to_string()}, {"end", range.end.to_string()}});
    item["partial"] = text(history.partial);
    json["histories"].push_back(std::move(item));
  }
  json["findings"] = Json::array();
  for (const auto& finding : report.findings) {
    Json item;
    item["kind"] = to_string(finding.kind);
    item["file"] = text(finding.file);
    item["to_file"] = text(finding.to_file);
    item["timeline"] = finding.timeline == 0 ? Json(nullptr) : Json(finding.timeline);
    item["lsn"] = lsn(finding.lsn);
    item["found_at"] = lsn(finding.found_at);
    item["offset"] = finding.offset ? Json(*finding.offset) : Json(nullptr);
    item["resource_manager"] = text(finding.resource_manager);
    item["message"] = finding.what;
    item["hint"] = text(finding.hint);
    item["loss"] = finding.loss ? Json{{"timeline", finding.loss->timeline},
                                       {"from", finding.loss->from.to_string()},
                                       {"to", finding.loss->to.to_string()}}
                                : Json(nullptr);
    item["accepted"] = finding.accepted ? Json(*finding.accepted) : Json(nullptr);
    json["findings"].push_back(std::move(item));
  }
  json["notes"] = report.notes;
  json["backup"] = nullptr;
  if (report.backup) {
    const auto& backup = *report.backup;
    Json item;
    item["file"] = backup.point.file;
    item["timeline"] = backup.point.timeline;
    item["start"] = backup.point.start.to_string();
    item["consistent_at"] = lsn(backup.consistent_at);
    item["reaches_consistency"] = backup.reaches_consistency;
    item["recoverable_to"] = Json::array();
    for (const auto& reach : backup.reaches)
      item["recoverable_to"].push_back(
          {{"timeline", reach.timeline}, {"lsn", reach.end.to_string()}});
    item["verdict"] = backup.verdict;
    json["backup"] = std::move(item);
  }
  if (beside != nullptr) json["beside"] = json_of(*beside);
  json["checked"] = {{"files", report.segments},
                     {"wal_bytes", report.wal_bytes},
                     {"records", report.records},
                     {"milliseconds", report.elapsed.count()}};
  // File names may contain any bytes.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace weir::verify
