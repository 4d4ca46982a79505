#include "drill/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/units.h"

namespace weir::drill {

namespace {

std::string commit_text(const wal::Commit& commit) {
  return fmt::format("{}, xid {}, LSN {}", commit.time.to_string(),
                     commit.transaction == 0 ? "not known" : std::to_string(commit.transaction),
                     commit.start);
}

std::string line(std::string_view name, std::string_view text) {
  return fmt::format("{:<12} {}\n", name, text);
}

}  // namespace

void Report::fail(Outcome how, std::string problem, std::string hint) {
  if (problems.empty()) outcome = how;
  problems.push_back(std::move(problem));
  if (!hint.empty()) hints.push_back(std::move(hint));
}

void Report::fail(Outcome how, const Error& error) { fail(how, error.what(), error.hint()); }

std::chrono::milliseconds Report::time() const {
  std::chrono::milliseconds all{};
  for (const auto& phase : phases) all += phase.time;
  return all;
}

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::recovered:
      return "recovered";
    case Outcome::failed:
      return "failed";
    case Outcome::not_tried:
      break;
  }
  return "not tried";
}

std::string report_text(const Report& report) {
  std::string text =
      line("backup", report.backup +
                         (report.backup_bytes == 0 ? "" : ", " + format_size(report.backup_bytes)));
  for (const auto& archive : report.archives) text += line("archive", archive);
  if (!report.server.empty()) text += line("server", report.server);
  if (report.promised) {
    text += line("promised", fmt::format("{} on timeline {}, {} of WAL after the backup's start",
                                         *report.promised, report.timeline.value_or(0),
                                         format_size(report.wal_bytes)));
    if (report.promised_commit) text += line("last commit", commit_text(*report.promised_commit));
  }
  if (report.reached)
    text += line("reached", fmt::format("{}{}", *report.reached,
                                        report.commit_reached == true    ? ", including the commit"
                                        : report.commit_reached == false ? ", without the commit"
                                                                         : ""));
  for (const auto& check : report.checks)
    text += line("check", fmt::format("{}: {}{}", check.passed ? "passed" : "FAILED", check.name,
                                      check.answer.empty() ? "" : " (" + check.answer + ")"));
  for (const auto& what : report.skipped) text += line("skipped", what);
  for (const auto& phase : report.phases) text += line(phase.name, format_duration(phase.time));
  if (report.phases.size() > 1) text += line("all together", format_duration(report.time()));
  for (const auto& warning : report.warnings) text += line("warning", warning);
  for (const auto& said : report.server_log) text += line("server said", said);
  for (const auto& problem : report.problems) text += line("problem", problem);
  for (const auto& hint : report.hints) text += line("hint", hint);
  if (report.outcome == Outcome::recovered && !report.warnings.empty())
    return text + "recovered, and every check passed; read the warnings before a manual restore\n";
  return text + (report.outcome == Outcome::recovered ? "recovered, and every check passed\n"
                 : report.outcome == Outcome::failed
                     ? "NOT RECOVERED as promised\n"
                     : "the drill could not run: this is not a result about the archive\n");
}

std::string report_json(const Report& report) {
  using Json = nlohmann::ordered_json;
  const auto lsn = [](const std::optional<wal::Lsn>& at) {
    return at ? Json(at->to_string()) : Json(nullptr);
  };
  Json commit = nullptr;
  if (const auto& last = report.promised_commit)
    commit = {{"time", last->time.to_string()},
              {"xid", last->transaction == 0 ? Json(nullptr) : Json(last->transaction)},
              {"lsn", last->start.to_string()}};
  auto phases = Json::array();
  for (const auto& phase : report.phases)
    phases.push_back({{"phase", phase.name}, {"ms", phase.time.count()}});
  auto checks = Json::array();
  for (const auto& check : report.checks)
    checks.push_back({{"check", check.name}, {"passed", check.passed}, {"answer", check.answer}});
  const Json json = {
      {"outcome", to_string(report.outcome)},
      {"backup", report.backup},
      {"archives", report.archives},
      {"target", report.target},
      {"server_version", report.server.empty() ? Json(nullptr) : Json(report.server)},
      {"backup_bytes", report.backup_bytes},
      {"shared_bytes", report.shared_bytes},
      {"wal_bytes", report.wal_bytes},
      {"timeline", report.timeline ? Json(*report.timeline) : Json(nullptr)},
      {"promised_lsn", lsn(report.promised)},
      {"promised_commit", commit},
      {"reached_lsn", lsn(report.reached)},
      {"commit_reached", report.commit_reached ? Json(*report.commit_reached) : Json(nullptr)},
      {"phases", phases},
      {"total_ms", report.time().count()},
      {"checks", checks},
      {"skipped", report.skipped},
      {"warnings", report.warnings},
      {"problems", report.problems},
      {"hints", report.hints},
      {"server_log", report.server_log}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace weir::drill
