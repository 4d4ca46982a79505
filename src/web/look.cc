#include "web/look.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

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
          .began = point.began};
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

void add_found(const std::vector<std::string>& places, Look& look) {
  if (places.empty()) return;
  try {
    for (const auto& found :
         prune::find_backups({.searched = places, .depth = archive::Depth::names})) {
      if (!found.point) continue;
      auto backup = backup_of(*found.point, found.path);
      backup.finished = found.state == prune::FoundBackup::State::finished;
      // The archive may have a history file of the same backup, which knows its end.
      const auto known =
          std::find_if(look.backups.begin(), look.backups.end(), [&](const auto& each) {
            return each.timeline == backup.timeline && each.start == backup.start;
          });
      if (known == look.backups.end()) {
        look.backups.push_back(std::move(backup));
        continue;
      }
      known->name = backup.name;
      if (known->label.empty()) known->label = backup.label;
      known->finished = backup.finished;
      if (!known->end) known->end = backup.end;
    }
  } catch (const Error& error) {
    look.backups_error = error.what();
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

Look look_at(const std::string& directory, const std::vector<std::string>& places) {
  Look look;
  look.at = std::chrono::system_clock::now();
  const auto opened = io::open_existing_directory(directory);
  look.report = status::make_report(*opened);
  look.report.disk_bytes = io::inspect_place(directory).bytes;
  add_labels(directory, archive::list_archive_names(*opened), look);
  add_found(places, look);
  std::stable_sort(look.backups.begin(), look.backups.end(),
                   [](const auto& a, const auto& b) { return a.start < b.start; });
  return look;
}

}  // namespace weir::web
