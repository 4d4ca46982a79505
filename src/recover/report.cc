#include "recover/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"

namespace weir::recover {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::pair<State, std::string_view> kStates[] = {
    {State::none, "none"},         {State::incomplete, "incomplete"},
    {State::prepared, "prepared"}, {State::recovering, "recovering"},
    {State::reached, "reached"},   {State::failed, "failed"}};

std::string commit_text(const wal::Commit& commit) {
  return fmt::format("{}, xid {}, LSN {}", commit.time.to_string(),
                     commit.transaction == 0 ? "not known" : std::to_string(commit.transaction),
                     commit.start);
}

Json commit_json(const std::optional<wal::Commit>& commit) {
  if (!commit) return nullptr;
  return {{"time", commit->time.to_string()},
          {"xid", commit->transaction == 0 ? Json(nullptr) : Json(commit->transaction)},
          {"lsn", commit->start.to_string()}};
}

Json lsn_json(const std::optional<wal::Lsn>& lsn) {
  return lsn ? Json(lsn->to_string()) : Json(nullptr);
}

std::string line(std::string_view name, std::string_view text) {
  return fmt::format("{:<12} {}\n", name, text);
}

std::string_view last_line(const Report& report) {
  if (report.dry_run && !report.failed()) return "the target can be reached; nothing was changed\n";
  switch (report.state) {
    case State::reached:
      return "RECOVERED as promised\n";
    case State::prepared:
      return report.failed() ? "NOT STARTED: the directory is prepared\n"
                             : "PREPARED: the directory is complete; no server was started\n";
    case State::recovering:
      return "the server continues; the same command follows it again\n";
    case State::incomplete:
      return "NOT RECOVERED: the directory is incomplete, and no server can start in it\n";
    case State::failed:
      return "NOT RECOVERED as promised\n";
    case State::none:
      break;
  }
  return "NOT RECOVERED: nothing was changed\n";
}

}  // namespace

std::string_view to_string(State state) {
  for (const auto& [each, name] : kStates)
    if (each == state) return name;
  return "none";
}

void Report::fail(int how, std::string problem, std::string hint) {
  if (problems.empty()) status = how;
  problems.push_back(std::move(problem));
  if (!hint.empty()) hints.push_back(std::move(hint));
}

void Report::fail(int how, const Error& error) { fail(how, error.what(), error.hint()); }

std::string report_text(const Report& report) {
  std::string text;
  for (const auto& each : report.passed_over) text += line("not used", each);
  if (!report.backup.empty())
    text += line(
        "backup",
        report.backup + (report.backup_bytes == 0 ? "" : ", " + format_size(report.backup_bytes)));
  for (const auto& archive : report.archives) text += line("archive", archive);
  text += line("target", report.target);
  if (!report.server.empty()) text += line("server", report.server);
  if (report.promised) {
    text +=
        line("promised", fmt::format("{} on timeline {}, {} of WAL to replay", *report.promised,
                                     report.timeline.value_or(0), format_size(report.wal_bytes)));
    text += line("last commit", report.promised_commit ? commit_text(*report.promised_commit)
                                                       : "none since the start of the backup");
    if (report.next_commit)
      text += line("left out", "from the commit of " + commit_text(*report.next_commit) + " on");
  }
  text += line("into", report.into);
  for (const auto& each : report.tablespaces)
    text += line("tablespace", fmt::format("{}: {} -> {}", each.oid, each.from, each.to));
  if (report.reached || report.commit_reached)
    text += line("reached", fmt::format("{}{}",
                                        report.reached ? report.reached->to_string()
                                                       : std::string("the target"),
                                        report.commit_reached == true    ? ", the commit is there"
                                        : report.commit_reached == false ? ", and the commit is "
                                                                           "not there"
                                                                         : ""));
  for (const auto& note : report.notes) text += line("note", note);
  for (const auto& said : report.server_log) text += line("server said", said);
  for (const auto& problem : report.problems) text += line("problem", problem);
  for (const auto& hint : report.hints) text += line("hint", hint);
  for (const auto& each : report.next) text += line("next", each);
  return text + std::string(last_line(report));
}

std::string report_json(const Report& report, const std::string& words) {
  auto tablespaces = Json::array();
  for (const auto& each : report.tablespaces)
    tablespaces.push_back({{"oid", each.oid}, {"from", each.from}, {"to", each.to}});
  Json json = {
      {"state", to_string(report.state)},
      {"status", report.status},
      {"dry_run", report.dry_run},
      {"into", report.into},
      {"backup", report.backup},
      {"archives", report.archives},
      {"target", report.target},
      {"tablespaces", tablespaces},
      {"server_version", report.server.empty() ? Json(nullptr) : Json(report.server)},
      {"backup_bytes", report.backup_bytes},
      {"shared_bytes", report.shared_bytes},
      {"wal_bytes", report.wal_bytes},
      {"segment_bytes", report.segment_bytes},
      {"timeline", report.timeline ? Json(*report.timeline) : Json(nullptr)},
      {"promised_lsn", lsn_json(report.promised)},
      {"promised_commit", commit_json(report.promised_commit)},
      {"next_commit", commit_json(report.next_commit)},
      {"reached_lsn", lsn_json(report.reached)},
      {"commit_reached", report.commit_reached ? Json(*report.commit_reached) : Json(nullptr)},
      {"passed_over", report.passed_over},
      {"notes", report.notes},
      {"next", report.next},
      {"problems", report.problems},
      {"hints", report.hints},
      {"server_log", report.server_log}};
  if (!words.empty()) {
    json["words"] = words;
    json["id"] = report.id;
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<Left> parse_left(const std::string& text) {
  const auto json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("words") || !json["words"].is_string())
    return std::nullopt;
  Left left;
  try {
    left.words = json["words"].get<std::string>();
    const auto state = json.at("state").get<std::string>();
    for (const auto& [each, name] : kStates)
      if (state == name) left.state = each;
    auto& report = left.report;
    report.into = json.at("into").get<std::string>();
    report.backup = json.at("backup").get<std::string>();
    report.target = json.at("target").get<std::string>();
    report.wal_bytes = json.at("wal_bytes").get<std::uint64_t>();
    report.segment_bytes = json.at("segment_bytes").get<std::uint64_t>();
    report.backup_bytes = json.at("backup_bytes").get<std::uint64_t>();
    for (const auto& each : json.at("tablespaces"))
      report.tablespaces.push_back({each.at("oid"), each.at("from"), each.at("to")});
    // An earlier version has not written it.
    if (json.contains("id")) report.id = json.at("id").get<std::string>();
    report.notes = json.at("notes").get<std::vector<std::string>>();
    if (const auto& timeline = json.at("timeline"); !timeline.is_null())
      report.timeline = timeline.get<wal::TimelineId>();
    const auto lsn = [&](const Json& value) {
      return value.is_string() ? wal::Lsn::parse(value.get<std::string>()) : std::nullopt;
    };
    report.promised = lsn(json.at("promised_lsn"));
    report.reached = lsn(json.at("reached_lsn"));
    if (const auto& reached = json.at("commit_reached"); reached.is_boolean())
      report.commit_reached = reached.get<bool>();
    if (const auto& commit = json.at("promised_commit"); commit.is_object()) {
      const auto time = wal::PgTime::parse(commit.at("time").get<std::string>());
      const auto start = lsn(commit.at("lsn"));
      if (time && start)
        report.promised_commit = wal::Commit{
            .start = *start,
            .transaction = commit.at("xid").is_null() ? 0 : commit.at("xid").get<std::uint32_t>(),
            .time = *time};
    }
  } catch (const Json::exception&) {
    return std::nullopt;  // of another version, or not ours
  }
  return left;
}

}  // namespace weir::recover
