#include "status/several.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "archive/branch.h"
#include "status/check.h"
#include "status/report.h"
#include "status/text.h"

namespace weir::status {

namespace {

using Json = nlohmann::json;

/// nullopt: it is not known. Only timeline 1 is certain to have no ancestors.
std::optional<wal::TimelineHistory> history_of(const StatusReport& report,
                                               wal::TimelineId timeline) {
  const auto known = report.histories.known();
  if (timeline != 1 && std::find(known.begin(), known.end(), timeline) == known.end())
    return std::nullopt;
  return report.histories.history(timeline);
}

/// The first segment of a timeline begins with WAL of the previous one: until it has more than
/// that, the archive reaches as far as the previous timeline's files.
bool has_own_wal(const StatusReport& report, wal::TimelineId timeline, wal::Lsn end) {
  const auto history = history_of(report, timeline);
  return !history || end > history->begin_of(timeline).value_or(wal::Lsn());
}

Reach reach_of(const ArchiveStatus& archive) {
  Reach reach{.directory = archive.directory, .system_identifier = {}, .end = {}};
  if (!archive.report) {
    reach.why_not = "could not be read";
    return reach;
  }
  const auto& report = *archive.report;
  const auto ends = known_ends(report);
  if (ends.empty()) {
    reach.why_not = "has no WAL";
    return reach;
  }
  if (!report.identity) {
    reach.why_not = "has WAL of an unknown cluster";
    return reach;
  }
  reach.system_identifier = report.identity->system_identifier;
  for (auto each = ends.rbegin(); each != ends.rend() && reach.timeline == 0; ++each)
    if (has_own_wal(report, each->first, each->second)) std::tie(reach.timeline, reach.end) = *each;
  if (reach.timeline == 0) std::tie(reach.timeline, reach.end) = *ends.rbegin();
  return reach;
}

void compare_with_furthest(Reach& reach, const StatusReport& report, const Reach& furthest,
                           const StatusReport& of_furthest) {
  const auto branch =
      archive::compare_with_server(of_furthest.histories, {{furthest.timeline, furthest.end}},
                                   {.timeline = reach.timeline,
                                    .position = reach.end,
                                    .history = history_of(report, reach.timeline)});
  if (!branch || branch->relation == archive::Branch::Relation::unknown) return;
  const bool diverged = branch->relation == archive::Branch::Relation::diverged;
  const auto common = diverged ? std::min(branch->fork, reach.end) : reach.end;
  reach.behind = furthest.end > common ? furthest.end - common : 0;
  reach.diverged = diverged ? branch->missing() : 0;
}

std::string text_of(const Reach& reach) {
  if (reach.timeline == 0) return fmt::format("{} {}", reach.directory, reach.why_not);
  if (!reach.behind)
    return fmt::format(
        "{} reaches timeline {}, {}, and how that timeline relates to the furthest one is unknown",
        reach.directory, reach.timeline, reach.end);
  if (reach.diverged > 0)
    return fmt::format(
        "{} is {} bytes behind, and {} bytes of its timeline {} are not part of that history",
        reach.directory, *reach.behind, reach.diverged, reach.timeline);
  return *reach.behind == 0 ? fmt::format("{} reaches equally far", reach.directory)
                            : fmt::format("{} is {} bytes behind", reach.directory, *reach.behind);
}

Json json_of(const Reach& reach) {
  Json json{{"directory", reach.directory},
            {"behind_bytes", reach.behind ? Json(*reach.behind) : Json(nullptr)}};
  json["timeline"] = reach.timeline > 0 ? Json(reach.timeline) : Json(nullptr);
  json["lsn"] = reach.timeline > 0 ? Json(reach.end.to_string()) : Json(nullptr);
  if (reach.diverged > 0) json["diverged_bytes"] = reach.diverged;
  return json;
}

}  // namespace

Comparison compare(const std::vector<ArchiveStatus>& archives) {
  Comparison comparison;
  std::optional<std::uint64_t> cluster;
  for (const auto& archive : archives) {
    const auto& reach = comparison.archives.emplace_back(reach_of(archive));
    if (!reach.system_identifier) continue;
    if (cluster && *cluster != *reach.system_identifier) comparison.different_clusters = true;
    cluster = reach.system_identifier;
  }
  if (comparison.different_clusters) return comparison;
  auto& reaches = comparison.archives;
  const auto furthest =
      std::max_element(reaches.begin(), reaches.end(), [](const Reach& left, const Reach& right) {
        return std::tie(left.timeline, left.end) < std::tie(right.timeline, right.end);
      });
  if (furthest == reaches.end() || furthest->timeline == 0) return comparison;
  const auto best = static_cast<std::size_t>(furthest - reaches.begin());
  comparison.furthest = best;
  for (std::size_t i = 0; i < reaches.size(); ++i)
    if (i == best)
      reaches[i].behind = 0;
    else if (reaches[i].timeline > 0)
      compare_with_furthest(reaches[i], *archives[i].report, reaches[best], *archives[best].report);
  return comparison;
}

std::string text_of(const Comparison& comparison) {
  if (comparison.different_clusters) {
    std::vector<std::string> clusters;
    for (const auto& reach : comparison.archives)
      if (reach.system_identifier)
        clusters.push_back(fmt::format("{} to {}", reach.directory, *reach.system_identifier));
    return fmt::format("The archives belong to different clusters, and cannot be compared: {}",
                       fmt::join(clusters, ", "));
  }
  std::vector<std::string> others;
  for (std::size_t i = 0; i < comparison.archives.size(); ++i)
    if (i != comparison.furthest) others.push_back(text_of(comparison.archives[i]));
  if (!comparison.furthest)
    return fmt::format("There is nothing to compare: {}", fmt::join(others, "; "));
  const auto& furthest = comparison.archives[*comparison.furthest];
  return fmt::format("Furthest: {}, timeline {}, {}; {}", furthest.directory, furthest.timeline,
                     furthest.end, fmt::join(others, "; "));
}

std::string check_lines(const std::vector<ArchiveStatus>& archives, const Comparison& comparison) {
  std::string lines;
  if (comparison.different_clusters)
    lines = line_without_report(Level::critical, text_of(comparison)) + "\n";
  std::vector<const ArchiveStatus*> sorted;
  for (const auto& archive : archives) sorted.push_back(&archive);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const ArchiveStatus* left, const ArchiveStatus* right) {
                     return gravity(left->verdict->level) > gravity(right->verdict->level);
                   });
  for (const auto* archive : sorted)
    lines += fmt::format("{}: {}\n", plugin_text(archive->directory), archive->verdict->line);
  return lines;
}

Level level_of(const std::vector<ArchiveStatus>& archives, const Comparison& comparison) {
  auto level = comparison.different_clusters ? Level::critical : Level::ok;
  for (const auto& archive : archives)
    if (gravity(archive.verdict->level) > gravity(level)) level = archive.verdict->level;
  return level;
}

std::string several_json(const std::vector<ArchiveStatus>& archives, const Comparison& comparison) {
  Json json{{"archives", Json::array()}, {"ends", Json::array()}, {"what", text_of(comparison)}};
  for (const auto& archive : archives) {
    if (archive.report) {
      json["archives"].push_back(Json::parse(status_json(*archive.report, archive.verdict)));
      continue;
    }
    Json unread{{"directory", archive.directory}, {"error", archive.error}};
    if (const auto& verdict = archive.verdict)
      unread["check"] = {{"status", to_string(verdict->level)},
                         {"exit_status", static_cast<int>(verdict->level)},
                         {"line", verdict->line}};
    json["archives"].push_back(std::move(unread));
  }
  for (const auto& reach : comparison.archives) json["ends"].push_back(json_of(reach));
  json["different_clusters"] = comparison.different_clusters;
  json["furthest"] = comparison.furthest ? Json(comparison.archives[*comparison.furthest].directory)
                                         : Json(nullptr);
  // File names need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir::status
