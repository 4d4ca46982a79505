#include "backup/keep.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <utility>

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

/// What becomes of the backups that no rule needs.
struct Choice {
  std::vector<std::string> names;      ///< that are removed, in this order
  std::vector<const Standing*> stays;  ///< good ones that are not removed all the same
};

/// A backup that another program has put into the directory of this one, or next to its files.
const Standing* other_inside(const Standing& outer, const std::vector<Standing>& standing) {
  for (const auto& each : standing)
    if (&each != &outer &&
        (each.path == outer.path || each.found.path.starts_with(outer.path + "/")))
      return &each;
  return nullptr;
}

/// Why it stays; empty: it is removed.
std::string why_it_stays(const Standing& backup, const std::vector<Standing>& standing,
                         io::Directory& to) {
  const auto is_own = [&] {
    if (!prune::time_of_backup_name(backup.name)) return false;
    const auto entry = to.find(backup.name);
    // A link leads to what another made.
    return entry && entry->type == io::DirectoryEntry::Type::directory &&
           !io::read_link(backup.path);
  };
  if (!is_own()) return "not created by pgweir backup, and so not removed";
  if (const auto* const other = other_inside(backup, standing))
    return "not removed, because its directory contains the backup " + other->found.path;
  return {};
}

Choice choose_names(const prune::Retention& retention, io::Directory& to,
                    const std::vector<Standing>& standing, Report& report) {
  Choice choice;
  std::set<const Standing*> bases;  // of those that stay
  for (const auto& path : retention.obsolete) {
    const auto at = std::find_if(standing.begin(), standing.end(),
                                 [&](const auto& each) { return each.found.path == path; });
    if (at == standing.end()) continue;
    auto why = why_it_stays(*at, standing, to);
    if (why.empty() && bases.contains(&*at))
      why = "not removed, because a backup that is not removed builds upon it";
    if (why.empty()) {
      choice.names.push_back(at->name);
      continue;
    }
    report.notes.push_back(at->path + ": no longer needed, but " + why);
    if (at->good()) choice.stays.push_back(&*at);
    // It comes before its base.
    if (const auto* const base = base_of(standing, *at)) bases.insert(base);
  }
  return choice;
}

/// The WAL of a backup that stays is kept, as far as the archive has it.
void keep_wal_of(const prune::FoundBackup& backup, prune::ArchiveWal& wal, prune::Options& wanted) {
  using State = prune::WalOfBackup::State;
  auto point = *backup.point;
  point.file = backup.path;
  for (const auto& line : wal.lines()) {
    if (!prune::lies_on(point, line.history)) continue;
    for (const auto& stretch : line.stretches) {
      if (!prune::lies_in(point, stretch)) continue;
      const auto state = wal.look(backup, line, stretch, std::nullopt).state;
      if (state == State::stranger) continue;
      (state == State::sound ? wanted.backups : wanted.doubtful).push_back(point);
      return;
    }
  }
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
  auto choice = choose_names(retention, to, standing, report);
  report.removed = std::move(choice.names);
  // What is removed no longer keeps WAL; all that stays and counts does, what others build upon
  // too.
  prune::Options wanted{.now = now};
  wanted.backups = retention.kept;
  wanted.backups.insert(wanted.backups.end(), retention.bases.begin(), retention.bases.end());
  wanted.doubtful = retention.doubtful;
  for (const auto* stays : choice.stays) keep_wal_of(stays->found, wal, wanted);
  const auto tell_held_back = [&](const prune::Plan& plan) {
    for (const auto& held : plan.held_back) report.notes.push_back(prune::text_of(held));
  };
  if (options.dry_run) {
    const auto plan = prune::make_plan(archive, wanted);
    tell_held_back(plan);
    report.wal_files = plan.files;
    report.wal_bytes = plan.bytes;
    return;
  }
  if (options.stop()) throw Error(ErrorKind::retry, "stopped before anything was removed");
  if (!report.removed.empty()) {
    // What prevents the removal of WAL is noticed before a backup is removed.
    static_cast<void>(prune::make_plan(archive, wanted));
    remove(to, report.removed,
           [&](const std::string& hidden) { io::remove_tree(options.to + "/" + hidden); });
  }
  const archive::Upkeep upkeep(archive, archive::Upkeep::Kind::prune);
  const auto plan = prune::make_plan(archive, wanted);
  tell_held_back(plan);
  if (!prune::carry_out(archive, plan, options.stop, [&](const std::string&) {}))
    throw Error(ErrorKind::retry, "stopped before all WAL was removed that no backup needs")
        .hint("The remaining WAL has no gap; the next run continues.");
  report.wal_files = plan.files;
  report.wal_bytes = plan.bytes;
}

}  // namespace weir::backup
