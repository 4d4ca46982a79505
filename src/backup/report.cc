#include "backup/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/exit_status.h"
#include "base/units.h"

namespace weir::backup {

namespace {

using Json = nlohmann::ordered_json;

std::string backup_line(std::string_view name, std::string_view text) {
  return fmt::format("{:<12} {}\n", name, text);
}

Json lsn_or_null(const std::optional<wal::Lsn>& lsn) {
  return lsn ? Json(lsn->to_string()) : Json(nullptr);
}

std::string_view format_name(Format format) { return format == Format::tar ? "tar" : "plain"; }

std::string_view kind_name(bool incremental) { return incremental ? "incremental" : "full"; }

std::chrono::milliseconds age_of(const Standing& standing,
                                 std::chrono::system_clock::time_point now) {
  constexpr std::chrono::milliseconds kNone{0};
  return std::max(kNone, std::chrono::duration_cast<std::chrono::milliseconds>(
                             now - standing.began.value_or(now)));
}

std::string dumped(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string_view Report::outcome() const {
  if (made)
    return problems.empty() ? "made"
           : status == kNo  ? "made, others in doubt"
                            : "made, rules not applied";
  if (dry_run && problems.empty()) return "dry run";
  switch (status) {
    case kNo:
      return "unusable";
    case kUsage:
      return "usage";
    case kTryAgain:
      return "not made";
    default:
      return "refused";
  }
}

void Report::fail(int how, std::string problem, std::string hint) {
  if (problems.empty()) status = how;
  problems.push_back(std::move(problem));
  if (!hint.empty()) hints.push_back(std::move(hint));
}

void Report::fail(int how, const Error& error) { fail(how, error.what(), error.hint()); }

std::string report_text(const Report& report) {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) text += backup_line(name, value);
  };
  add("server", report.server);
  add("archive", report.archive);
  if (!report.path.empty())
    add("backup", fmt::format("{}, {}, {}{}", report.path, kind_name(report.incremental),
                              format_name(report.format),
                              report.bytes == 0 ? "" : ", " + format_size(report.bytes)));
  add("base", report.base);
  if (report.begin && report.end)
    add("WAL", fmt::format("{} to {} on timeline {}", *report.begin, *report.end,
                           report.timeline.value_or(0)));
  if (report.made) add("took", format_duration(report.elapsed));
  for (const auto& name : report.removed) add(report.dry_run ? "would remove" : "removed", name);
  if (report.wal_files > 0)
    add(report.dry_run ? "would remove" : "removed",
        fmt::format("{} files of WAL, {}", report.wal_files, format_size(report.wal_bytes)));
  for (const auto& note : report.notes) add("note", note);
  for (const auto& problem : report.problems) add("problem", problem);
  for (const auto& hint : report.hints) add("hint", hint);
  if (report.made) return text + "BACKED UP: the archive can bring this backup to consistency\n";
  if (report.dry_run && report.problems.empty()) return text + "nothing was changed\n";
  return text + "NO BACKUP was made that counts\n";
}

std::string report_json(const Report& report) {
  const auto text = [](const std::string& value) {
    return value.empty() ? Json(nullptr) : Json(value);
  };
  std::string problem;
  for (const auto& each : report.problems) problem += (problem.empty() ? "" : "; ") + each;
  return dumped({{"outcome", report.outcome()},
                 {"status", report.status},
                 {"dry_run", report.dry_run},
                 {"name", text(report.name)},
                 {"path", text(report.path)},
                 {"kind", kind_name(report.incremental)},
                 {"base", text(report.base)},
                 {"format", format_name(report.format)},
                 {"server", text(report.server)},
                 {"archive", text(report.archive)},
                 {"begin_lsn", lsn_or_null(report.begin)},
                 {"end_lsn", lsn_or_null(report.end)},
                 {"timeline", report.timeline ? Json(*report.timeline) : Json(nullptr)},
                 {"bytes", report.bytes},
                 {"seconds", static_cast<double>(report.elapsed.count()) / 1000},
                 {"removed", report.removed},
                 {"removed_wal_files", report.wal_files},
                 {"removed_wal_bytes", report.wal_bytes},
                 {"notes", report.notes},
                 {"problem", text(problem)},
                 {"hints", report.hints}});
}

std::string list_text(const std::vector<Standing>& standing,
                      std::chrono::system_clock::time_point now) {
  if (standing.empty()) return "no backups\n";
  auto text = fmt::format("{:<18} {:<11} {:<5} {:>10}  {:<12} {}\n", "NAME", "KIND", "FORM", "SIZE",
                          "AGE", "WAL");
  for (const auto& each : standing) {
    const auto place =
        each.found.point
            ? fmt::format("{} to {} on timeline {}", each.found.point->start,
                          each.found.point->end ? each.found.point->end->to_string() : "?",
                          each.found.point->timeline)
            : std::string("not known");
    text +=
        fmt::format("{:<18} {:<11} {:<5} {:>10}  {:<12} {}\n", each.name,
                    kind_name(each.found.point && each.found.point->parent),
                    format_name(each.format), each.bytes ? format_size(*each.bytes) : "not known",
                    each.began ? format_duration(age_of(each, now)) : "not known", place);
    if (!each.counts())
      text += fmt::format("  does not count: {}{}\n", each.good() ? each.abandoned : each.why,
                          each.for_others ? "; others build upon it" : "");
  }
  return text;
}

std::string list_json(const std::vector<Standing>& standing,
                      std::chrono::system_clock::time_point now) {
  auto list = Json::array();
  for (const auto& each : standing) {
    const auto& point = each.found.point;
    list.push_back(
        {{"name", each.name},
         {"path", each.path},
         {"good", each.counts()},
         {"why", each.counts() ? Json(nullptr) : Json(each.good() ? each.abandoned : each.why)},
         {"base_of_others", each.for_others},
         {"bytes", each.bytes ? Json(*each.bytes) : Json(nullptr)},
         {"begin_lsn", point ? Json(point->start.to_string()) : Json(nullptr)},
         {"end_lsn", lsn_or_null(point ? point->end : std::nullopt)},
         {"timeline", point ? Json(point->timeline) : Json(nullptr)},
         {"began", each.began ? Json(format_iso_time(*each.began)) : Json(nullptr)},
         {"age_seconds", each.began ? Json(age_of(each, now).count() / 1000) : Json(nullptr)},
         {"kind", kind_name(point && point->parent)},
         {"base", each.base.empty() ? Json(nullptr) : Json(each.base)},
         {"format", format_name(each.format)}});
  }
  return dumped({{"backups", list}});
}

}  // namespace weir::backup
