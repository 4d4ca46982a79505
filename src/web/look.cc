#include "web/look.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "archive/backup_files.h"
#include "archive/backup_point.h"
#include "archive/listing.h"
#include "base/error.h"
#include "io/place.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "prune/find_backups.h"

namespace weir::web {

namespace {

/// The newest ones; of a thousand backups nobody looks at all.
constexpr std::size_t kMostLabels = 100;
constexpr std::uint64_t kLargestLabel = 16 << 10;

Backup backup_of(const archive::BackupPoint& point, std::string name) {
  return {.name = std::move(name),
          .label = point.label,
          .timeline = point.timeline,
          .start = point.start,
          .end = point.end,
          .began = point.began,
          .parent = point.parent};
}

void add_labels(const std::string& directory, const archive::Listing& listing, Look& look) {
  auto labels = listing.backup_histories;
  std::sort(labels.begin(), labels.end());
  const auto first = labels.size() > kMostLabels ? labels.size() - kMostLabels : 0;
  for (std::size_t i = first; i < labels.size(); ++i) {
    const auto path = fmt::format("{}/{}", directory, labels[i]);
    try {
      const auto point =
          archive::parse_backup_label(io::read_small_file(path, kLargestLabel), path);
      look.backups.push_back(backup_of(point, labels[i]));
    } catch (const Error& error) {
      look.report.damaged.push_back(fmt::format("{}: {}", labels[i], error.message()));
    }
  }
}

/// Its format and its size. What cannot be read is a reason not to count it.
void add_files(const prune::FoundBackup& found, prune::BackupSizes& sizes, Backup& backup) {
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

void add_found(const std::vector<std::string>& places, prune::BackupSizes& sizes, Look& look) {
  if (places.empty()) return;
  try {
    for (const auto& found :
         prune::find_backups({.searched = places, .depth = archive::Depth::names})) {
      auto backup = found.point ? backup_of(*found.point, found.path) : Backup{.name = found.path};
      backup.problem = found.problem;
      add_files(found, sizes, backup);
      // The archive may have a history file of the same backup, which knows its end.
      const auto known =
          std::find_if(look.backups.begin(), look.backups.end(), [&](const auto& each) {
            return found.point && each.timeline == backup.timeline && each.start == backup.start;
          });
      if (known == look.backups.end()) {
        look.backups.push_back(std::move(backup));
        continue;
      }
      if (backup.label.empty()) backup.label = known->label;
      if (!backup.end) backup.end = known->end;
      // Two copies of a backup are two rows.
      if (known->format)
        look.backups.push_back(std::move(backup));
      else
        *known = std::move(backup);
    }
  } catch (const Error& error) {
    look.backups_error = error.what();
  }
}

/// An incremental backup counts only if its base does. `backups` are ordered: the base
/// comes before.
void judge_incremental(std::vector<Backup>& backups) {
  for (auto& backup : backups) {
    if (!backup.parent) continue;
    const Backup* base = nullptr;
    for (const auto& other : backups)
      if (other.format && other.timeline == backup.parent->timeline &&
          other.start == backup.parent->start && other.start < backup.start &&
          (base == nullptr || !base->problem.empty()))
        base = &other;
    if (base != nullptr) backup.base = base->name;
    // If its own files are elsewhere, its base may be, too.
    if (!backup.format || !backup.problem.empty()) continue;
    if (base == nullptr)
      backup.problem = fmt::format(
          "it is incremental to a backup that began at {} on timeline {}, which is not here",
          backup.parent->start, backup.parent->timeline);
    else if (!base->problem.empty())
      backup.problem = fmt::format("it is incremental to {}, which does not count", base->name);
  }
}

}  // namespace

Facts facts_of(const Look* look, const std::string& directory, SystemTime now) {
  Facts facts;
  facts.now = now;
  facts.looked = look != nullptr ? look->at : now;
  facts.version = PGWEIR_VERSION;
  facts.report.directory = directory;
  if (look == nullptr) return facts;
  facts.report = look->report;
  facts.backups = look->backups;
  facts.backups_error = look->backups_error;
  facts.history = look->history;
  return facts;
}

Look look_at(const std::string& directory, const std::vector<std::string>& places,
             prune::BackupSizes& sizes) {
  Look look;
  look.at = std::chrono::system_clock::now();
  const auto opened = io::open_existing_directory(directory);
  look.report = status::make_report(*opened);
  look.report.disk_bytes = io::inspect_place(directory).bytes;
  add_labels(directory, archive::list_archive_names(*opened), look);
  add_found(places, sizes, look);
  std::stable_sort(look.backups.begin(), look.backups.end(), [](const auto& a, const auto& b) {
    if (a.start.valid() != b.start.valid()) return a.start.valid();
    return a.start < b.start;
  });
  judge_incremental(look.backups);
  return look;
}

}  // namespace weir::web
