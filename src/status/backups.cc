#include "status/backups.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "archive/backup_files.h"
#include "archive/listing.h"
#include "base/error.h"
#include "base/units.h"
#include "io/small_file.h"
#include "prune/backup_name.h"
#include "prune/find_backups.h"
#include "prune/retention.h"

namespace weir::status {

namespace {

using Backup = StatusReport::Backup;

/// Only the newest backups are read: there may be a thousand.
constexpr std::size_t kMostLabels = 100;
constexpr std::uint64_t kLargestLabel = 16 << 10;

Backup backup_of(const archive::BackupPoint& point, std::string name) {
  return {.name = std::move(name),
          .label = point.label,
          .timeline = point.timeline,
          .start = point.start,
          .end = point.end,
          .end_timeline = point.end_timeline,
          .began = point.began,
          .parent = point.parent};
}

void add_labels(io::Directory& archive, StatusReport& report) {
  auto labels = archive::list_archive_names(archive).backup_histories;
  std::sort(labels.begin(), labels.end());
  const auto first = labels.size() > kMostLabels ? labels.size() - kMostLabels : 0;
  for (std::size_t i = first; i < labels.size(); ++i) {
    const auto path = archive.path_of(labels[i]);
    try {
      const auto point =
          archive::parse_backup_label(io::read_small_file(path, kLargestLabel), path);
      report.backups.push_back(backup_of(point, labels[i]));
    } catch (const Error& error) {
      report.damaged.push_back(fmt::format("{}: {}", labels[i], error.message()));
    }
  }
}

/// The time in the name that `pgweir backup` has given it: a server's clock may be wrong, and the
/// abbreviation of its time zone is not known everywhere.
void take_time_of_name(Backup& backup) {
  std::string_view path = backup.name;
  constexpr std::string_view kData = "/data";
  if (path.ends_with(kData)) path.remove_suffix(kData.size());
  if (const auto time = prune::time_of_backup_name(path.substr(path.find_last_of('/') + 1)))
    backup.began = wal::PgTime::of(*time);
}

/// Its format and its size. What cannot be read is a reason not to count it.
void add_files(const prune::FoundBackup& found, prune::BackupSizes& sizes, Backup& backup) {
  if (found.in_store) {
    backup.format = Backup::Format::tar;
    backup.bytes = found.bytes;
    return;
  }
  take_time_of_name(backup);
  backup.format = Backup::Format::plain;
  try {
    const auto files = archive::look_at_backup(found.path);
    if (!files) return;
    if (!files->tar.empty()) backup.format = Backup::Format::tar;
    backup.bytes = sizes.of(*files);
  } catch (const Error& error) {
    if (backup.problem.empty()) backup.problem = error.what();
  }
}

void add_one(const prune::FoundBackup& found, prune::BackupSizes& sizes, StatusReport& report) {
  auto backup = found.point ? backup_of(*found.point, found.path) : Backup{.name = found.path};
  backup.problem = found.problem;
  add_files(found, sizes, backup);
  // The archive may have a history file of the same backup, which knows its end.
  const auto known = std::find_if(report.backups.begin(), report.backups.end(), [&](auto& each) {
    return found.point && each.timeline == backup.timeline && each.start == backup.start;
  });
  if (known == report.backups.end()) {
    report.backups.push_back(std::move(backup));
    return;
  }
  if (backup.label.empty()) backup.label = known->label;
  if (!backup.end) {
    backup.end = known->end;
    backup.end_timeline = known->end_timeline;
  }
  // Two copies of a backup are two rows.
  if (known->format)
    report.backups.push_back(std::move(backup));
  else
    *known = std::move(backup);
}

/// Returns the names of those in tar format.
std::set<std::string> add_found(const std::vector<std::string>& places, prune::BackupSizes& sizes,
                                StatusReport& report) {
  std::set<std::string> in_tar;
  try {
    for (const auto& found :
         prune::find_backups({.searched = places, .depth = archive::Depth::names})) {
      add_one(found, sizes, report);
      if (found.in_tar) in_tar.insert(found.path);
    }
  } catch (const Error& error) {
    report.backups_error = error.what();
  }
  return in_tar;
}

/// An incremental backup counts only if its base does. `backups` are ordered: the base
/// comes before.
void judge_incremental(std::vector<Backup>& backups, const std::set<std::string>& in_tar) {
  for (auto& backup : backups) {
    if (!backup.parent) continue;
    const Backup* base = nullptr;
    for (const auto& other : backups)
      if (other.format && other.timeline == backup.parent->timeline &&
          other.start == backup.parent->start && other.start < backup.start &&
          (base == nullptr || !base->problem.empty() ||
           (in_tar.contains(base->name) && !in_tar.contains(other.name) && other.problem.empty())))
        base = &other;
    if (base != nullptr) backup.base = base->name;
    // If its own files are elsewhere, its base may be, too.
    if (!backup.format || !backup.problem.empty()) continue;
    if (base == nullptr)
      backup.problem = fmt::format(
          "it is incremental to a backup that started at {} on timeline {}, which does not exist "
          "here",
          backup.parent->start, backup.parent->timeline);
    else if (!base->problem.empty())
      backup.problem = fmt::format("it is incremental to {}, which does not count", base->name);
    else if (in_tar.contains(backup.name) || in_tar.contains(base->name))
      backup.problem = archive::kTarInChain;
  }
}

/// From its begin to its end, as far as that is known.
bool lies_on(const Backup& backup, const wal::TimelineHistory& history) {
  return prune::lies_on({.timeline = backup.timeline,
                         .start = backup.start,
                         .end = backup.end,
                         .end_timeline = backup.end_timeline},
                        history);
}

/// nullptr: there is no WAL that a recovery could follow.
const StatusReport::Window* newest_of(const std::vector<StatusReport::Window>& windows) {
  const auto newest = std::max_element(
      windows.begin(), windows.end(),
      [](const auto& one, const auto& other) { return one.timeline < other.timeline; });
  return newest == windows.end() ? nullptr : &*newest;
}

/// It is not in the history of the newest timeline, as far as that is known.
bool is_of_a_left_branch(const StatusReport& report, const Backup& backup) {
  const auto* const newest = newest_of(report.windows);
  const auto history =
      newest == nullptr ? std::nullopt : report.histories.history(newest->timeline);
  return history && !history->ancestors().empty() && !lies_on(backup, *history);
}

std::string backup_text(const StatusReport& report, const Backup& backup) {
  auto text = "    " + backup.name;
  if (!backup.label.empty()) text += fmt::format(" \"{}\"", backup.label);
  std::string facts = kind_of(backup);
  const auto add = [&](const std::string& fact) { facts += (facts.empty() ? "" : ", ") + fact; };
  if (backup.bytes) add(format_size(*backup.bytes));
  if (backup.began) {
    add("begun " + backup.began->to_string());
    if (const auto age = age_of(report, backup))
      facts += fmt::format(" ({} ago)", format_duration(*age));
  }
  if (!facts.empty()) text += ": " + facts;
  const auto* const window = window_of(report, backup);
  if (window == nullptr) return text + "\n      DOES NOT COUNT: " + why_not(report, backup) + "\n";
  return text + fmt::format("\n      can be recovered to any moment from {}{} up to {}{}\n",
                            backup.end.value_or(backup.start),
                            backup.end ? "" : ", or soon after it,",
                            window->to_time
                                ? fmt::format("{} ({})", window->to, window->to_time->to_string())
                                : window->to.to_string(),
                            backup.start < window->from ? ", with the object store" : "");
}

}  // namespace

void look_for_backups(StatusReport& report, io::Directory* archive,
                      const std::vector<std::string>& places, prune::BackupSizes& sizes,
                      const std::vector<prune::FoundBackup>& stored) {
  if (archive != nullptr) add_labels(*archive, report);
  report.backup_places = places;
  std::set<std::string> in_tar;
  if (!places.empty()) in_tar = add_found(places, sizes, report);
  for (const auto& each : stored) add_one(each, sizes, report);
  std::stable_sort(report.backups.begin(), report.backups.end(), [](const auto& a, const auto& b) {
    if (a.start.valid() != b.start.valid()) return a.start.valid();
    return a.start < b.start;
  });
  judge_incremental(report.backups, in_tar);
}

const StatusReport::Window* window_of(const StatusReport& report, const Backup& backup) {
  if (!backup.problem.empty()) return nullptr;
  const StatusReport::Window* best = nullptr;
  for (const auto& window : report.windows) {
    if (backup.start < window.stored_from.value_or(window.from) || backup.start >= window.to)
      continue;
    const auto history = report.histories.history(window.timeline);
    if (!history || !lies_on(backup, *history)) continue;
    // A way that ends further on says more.
    if (best == nullptr || window.timeline > best->timeline) best = &window;
  }
  if (best == nullptr || best->to < backup.end.value_or(backup.start)) return nullptr;
  return is_of_a_left_branch(report, backup) ? nullptr : best;
}

std::string why_not(const StatusReport& report, const Backup& backup) {
  if (!backup.problem.empty()) return backup.problem;
  const auto* const newest = newest_of(report.windows);
  if (backup.start.valid() && is_of_a_left_branch(report, backup) &&
      backup.timeline <= newest->timeline)
    return fmt::format("{} (recover --timeline {} follows its own)",
                       prune::not_in_history_of(newest->timeline), backup.timeline);
  return "the WAL that it needs is not in this archive";
}

std::optional<std::chrono::milliseconds> age_of(const StatusReport& report, const Backup& backup) {
  if (!backup.began || report.taken == decltype(report.taken)()) return std::nullopt;
  const auto age = report.taken - backup.began->system_time();
  if (age < -kClockTolerance) return std::nullopt;
  return std::max(std::chrono::milliseconds(0),
                  std::chrono::duration_cast<std::chrono::milliseconds>(age));
}

std::string kind_of(const Backup& backup) {
  std::string kind;
  if (backup.parent)
    kind = "incremental to " + (backup.base.empty()
                                    ? fmt::format("the one that began at {}", backup.parent->start)
                                    : backup.base);
  else if (backup.start.valid())
    kind = "full";
  if (!backup.format) return kind;
  return kind + (kind.empty() ? "" : ", ") +
         (*backup.format == Backup::Format::tar ? "tar" : "plain");
}

std::string backups_text(const StatusReport& report) {
  constexpr std::size_t kMost = 8;
  std::string text;
  if (report.backups_error)
    text += fmt::format("  BACKUPS: could not be listed: {}\n", *report.backups_error);
  else if (report.backups.empty() && !report.backup_places.empty())
    text += "  Base backups: none\n";
  if (report.backups.empty()) return text;
  text += "  Base backups, the newest first:\n";
  const auto count = report.backups.size();
  for (std::size_t i = 0; i < std::min(kMost, count); ++i)
    text += backup_text(report, report.backups[count - 1 - i]);
  if (count > kMost) text += fmt::format("    and {} older, in --json\n", count - kMost);
  return text;
}

}  // namespace weir::status
