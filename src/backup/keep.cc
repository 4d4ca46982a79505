#include "backup/keep.h"

#include <algorithm>
#include <chrono>

#include "archive/upkeep.h"
#include "backup/place.h"
#include "base/error.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "prune/backup_name.h"
#include "prune/prune.h"
#include "prune/retention.h"

namespace weir::backup {

namespace {

/// Names of those that go, in the order of their removal.
std::vector<std::string> names_to_remove(const prune::Retention& retention, io::Directory& to,
                                         const std::vector<Standing>& standing, Report& report) {
  std::vector<std::string> names;
  for (const auto& path : retention.obsolete) {
    const auto at = std::find_if(standing.begin(), standing.end(),
                                 [&](const auto& each) { return each.found.path == path; });
    if (at == standing.end()) continue;
    const auto entry = to.find(at->name);
    // A link leads to what another made.
    const bool own = prune::time_of_backup_name(at->name) && entry &&
                     entry->type == io::DirectoryEntry::Type::directory && !io::read_link(at->path);
    if (own)
      names.push_back(at->name);
    else
      report.notes.push_back(
          at->path + ": no longer needed, but not created by pgweir backup, and so not removed");
  }
  return names;
}

}  // namespace

void apply_rules(io::Directory& archive, io::Directory& to, const Options& options,
                 prune::ArchiveWal& wal, const std::vector<Standing>& standing, Report& report) {
  const auto now = std::chrono::system_clock::now();
  std::vector<prune::FoundBackup> found;
  for (const auto& each : standing) found.push_back(each.found);
  auto retention = prune::choose(
      found,
      {.window = options.rules.window, .count = options.rules.count, .now = wal::PgTime::of(now)},
      wal);
  for (const auto& remark : retention.remarks) report.notes.push_back(remark);
  if (retention.nothing) return;
  report.removed = names_to_remove(retention, to, standing, report);
  // What is removed no longer keeps WAL; all that stays and counts does, what others build upon
  // too.
  prune::Options wanted{.now = now};
  wanted.backups = retention.kept;
  wanted.backups.insert(wanted.backups.end(), retention.bases.begin(), retention.bases.end());
  wanted.doubtful = retention.doubtful;
  if (options.dry_run) {
    const auto plan = prune::make_plan(archive, wanted);
    report.wal_files = plan.files;
    report.wal_bytes = plan.bytes;
    return;
  }
  if (options.stop()) throw Error(ErrorKind::retry, "stopped before anything was removed");
  if (!report.removed.empty())
    remove(to, report.removed,
           [&](const std::string& hidden) { io::remove_tree(options.to + "/" + hidden); });
  const archive::Upkeep upkeep(archive, archive::Upkeep::Kind::prune);
  const auto plan = prune::make_plan(archive, wanted);
  for (const auto& held : plan.held_back)
    report.notes.push_back("the replication slot \"" + held.slot + "\" holds back WAL from " +
                           held.segment + " on");
  if (!prune::carry_out(archive, plan, options.stop, [&](const std::string&) {}))
    throw Error(ErrorKind::retry, "stopped before all WAL was removed that no backup needs")
        .hint("The remaining WAL has no gap; the next run continues.");
  report.wal_files = plan.files;
  report.wal_bytes = plan.bytes;
}

}  // namespace weir::backup
