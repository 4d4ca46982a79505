#include "prune/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "archive/backup_files.h"
#include "base/units.h"

namespace weir::prune {

namespace {

using State = FoundBackup::State;
using Candidates = std::vector<const FoundBackup*>;

std::string time_text(wal::PgTime time) { return format_time(time.system_time()); }

wal::PgTime before(wal::PgTime time, std::chrono::milliseconds by) {
  return {time.microseconds - std::chrono::microseconds(by).count()};
}

void add_end_of(const WalOfBackup& found, archive::BackupPoint& backup) {
  if (backup.end || !found.end) return;
  backup.end = found.end;
  backup.end_timeline = found.end_timeline;
}

class Chooser {
 public:
  Chooser(const std::vector<FoundBackup>& backups, const Rules& rules, WalFacts& wal)
      : backups_(backups), rules_(rules), wal_(wal) {}

  Retention run() {
    sort_out();
    keep_always();
    if (rules_.window) keep_window();
    if (rules_.count) keep_count();
    find_obsolete();
    for (const auto& backup : backups_) tell(backup);
    return std::move(result_);
  }

 private:
  void sort_out();
  void find_obsolete();
  [[nodiscard]] const FoundBackup* parent_of(const archive::BackupPoint& child) const;
  [[nodiscard]] bool has_its_parents(const FoundBackup& backup) const;
  [[nodiscard]] bool has_tar_in_chain(const FoundBackup& backup) const;
  void doubt(const FoundBackup& backup, const std::string& why);
  void complain(std::string text);
  void remark_once(const FoundBackup& backup, const std::string& text, bool complaint);

  void keep_always();
  bool has_its_wal(const FoundBackup& backup);
  bool lies_on_main(const FoundBackup& backup);
  void keep_window();
  void keep_window_of(const Line& line, bool main, wal::PgTime cutoff, const std::string& since);
  void keep_count();
  const WalOfBackup& look(const FoundBackup& backup, const Line& line, const Stretch& stretch,
                          std::optional<wal::PgTime> until);
  /// Keeps the backup if that is so.
  bool can_be_used(const FoundBackup& backup, const WalOfBackup& found);
  void keep(const FoundBackup& backup, std::string why);
  std::string why_no_wal(const FoundBackup& backup);
  void tell(const FoundBackup& backup);

  const std::vector<FoundBackup>& backups_;
  const Rules& rules_;
  WalFacts& wal_;
  Retention result_;
  Candidates candidates_;  ///< newest first
  std::map<std::pair<const FoundBackup*, wal::TimelineId>, WalOfBackup> looked_;
  std::map<const FoundBackup*, std::string> why_kept_;
  std::map<const FoundBackup*, std::string> problems_;
  std::set<const FoundBackup*> with_tar_;  ///< incremental ones; see has_tar_in_chain()
  std::set<const FoundBackup*> needed_;    ///< by incremental ones that stay
};

void Chooser::sort_out() {
  for (const auto& backup : backups_) {
    if (backup.state == State::finished && backup.point)
      candidates_.push_back(&backup);
    else
      doubt(backup, backup.problem);
  }
  const auto parentless =
      std::stable_partition(candidates_.begin(), candidates_.end(),
                            [&](const auto* backup) { return has_its_parents(*backup); });
  for (auto orphan = parentless; orphan != candidates_.end(); ++orphan)
    doubt(**orphan,
          fmt::format("it is incremental to a backup that started at {} on timeline {}, which does "
                      "not exist here",
                      (*orphan)->point->parent->start, (*orphan)->point->parent->timeline));
  candidates_.erase(parentless, candidates_.end());
  std::erase_if(candidates_, [&](const auto* backup) {
    if (!has_tar_in_chain(*backup)) return false;
    with_tar_.insert(backup);
    remark_once(*backup, std::string(archive::kTarInChain) + "; it does not count", true);
    return true;
  });
  // Ordered by their WAL: that requires no clock.
  std::stable_sort(candidates_.begin(), candidates_.end(), [](const auto* left, const auto* right) {
    return std::pair(left->point->timeline, left->point->start) >
           std::pair(right->point->timeline, right->point->start);
  });
}

/// What an incremental backup builds upon, in plain format if it exists in both; nullptr: it is not
/// there.
const FoundBackup* Chooser::parent_of(const archive::BackupPoint& child) const {
  const FoundBackup* parent = nullptr;
  for (const auto& other : backups_)
    if (other.state == State::finished && archive::is_better_parent(child, other, parent))
      parent = &other;
  return parent;
}

/// An incremental backup can be used with all backups that it builds upon, down to a full one.
bool Chooser::has_its_parents(const FoundBackup& backup) const {
  const auto* child = &backup;
  while (child->point->parent) {
    child = parent_of(*child->point);
    if (child == nullptr) return false;
  }
  return true;
}

/// `backup` has its parents.
bool Chooser::has_tar_in_chain(const FoundBackup& backup) const {
  const auto* child = &backup;
  while (child->point->parent) {
    const auto* const parent = parent_of(*child->point);
    if (child->in_tar || parent->in_tar) return true;
    child = parent;
  }
  return false;
}

void Chooser::find_obsolete() {
  std::set<const FoundBackup*> bases;
  for (const auto& backup : backups_) {
    if (!backup.point || (!why_kept_.contains(&backup) && !problems_.contains(&backup))) continue;
    const auto* child = &backup;
    while (child != nullptr && child->point->parent) {
      child = parent_of(*child->point);
      if (child == nullptr || why_kept_.contains(child)) continue;
      needed_.insert(child);
      // A backup that does not count keeps no WAL.
      if (with_tar_.contains(&backup) || !bases.insert(child).second) continue;
      result_.bases.push_back(*child->point);
      result_.bases.back().file = child->path;
    }
  }
  if (result_.nothing || result_.kept.empty()) return;
  const auto is_before = [&](const FoundBackup* backup) {
    return std::all_of(result_.kept.begin(), result_.kept.end(),
                       [&](const auto& kept) { return backup->point->start < kept.start; });
  };
  // A newer backup, which no rule keeps but which stays, must not lose its base either.
  for (const auto* backup : candidates_)
    for (const auto* child = backup; !is_before(backup) && child->point->parent;) {
      child = parent_of(*child->point);
      if (child == nullptr) break;
      needed_.insert(child);
    }
  for (const auto* backup : candidates_)
    if (is_before(backup) && !needed_.contains(backup) && !problems_.contains(backup))
      result_.obsolete.push_back(backup->path);
}

void Chooser::doubt(const FoundBackup& backup, const std::string& why) {
  if (!problems_.emplace(&backup, why).second) return;
  if (backup.point) {
    result_.doubtful.push_back(*backup.point);
    result_.doubtful.back().file = backup.path;
  } else {
    result_.nothing = true;
  }
  complain(fmt::format("{}: {}; it is treated as kept{}", backup.path, why,
                       backup.point ? fmt::format(", from {} on", backup.point->start)
                                    : std::string(", and nothing is removed")));
}

void Chooser::complain(std::string text) {
  result_.complaint = true;
  result_.remarks.push_back(std::move(text));
}

void Chooser::remark_once(const FoundBackup& backup, const std::string& text, bool complaint) {
  if (!problems_.emplace(&backup, text).second) return;
  if (complaint) result_.complaint = true;
  result_.remarks.push_back(fmt::format("{}: {}", backup.path, text));
}

/// Those that the program that made them is told to keep for good; as long as their WAL is here.
void Chooser::keep_always() {
  for (const auto* backup : candidates_)
    if (backup->keep_always && has_its_wal(*backup))
      keep(*backup, "the program that created it is configured to keep it");
}

/// The archive has its WAL, on the newest timeline that it can be recovered along.
bool Chooser::has_its_wal(const FoundBackup& backup) {
  const auto& lines = wal_.lines();
  for (auto line = lines.rbegin(); line != lines.rend(); ++line)
    for (const auto& stretch : line->stretches)
      if (lies_on(*backup.point, line->history) && lies_in(*backup.point, stretch))
        return can_be_used(backup, look(backup, *line, stretch, std::nullopt));
  return false;
}

/// A backup of a branch that was left, such as one of an old primary that wrote on after a
/// failover, does not count: the newest timeline cannot be recovered from it.
bool Chooser::lies_on_main(const FoundBackup& backup) {
  const auto& lines = wal_.lines();
  if (lines.empty() || lies_on(*backup.point, lines.back().history)) return true;
  const bool of_a_branch = std::any_of(lines.begin(), lines.end(), [&](const Line& line) {
    return lies_on(*backup.point, line.history);
  });
  if (of_a_branch)
    remark_once(backup, not_in_history_of(lines.back().history.timeline()) + ", and does not count",
                false);
  return false;
}

/// Each point in time of the window must stay reachable on each history in the archive: for
/// transactions committed since its start, the newest backup that had ended by then is needed.
void Chooser::keep_window() {
  const auto& lines = wal_.lines();
  if (lines.empty()) return;
  auto reference = rules_.now;
  std::string since = "now";
  const auto& main = lines.back();
  const auto last = wal_.newest_commit(main, main.stretches.back());
  // (WAL that cannot be read may have a later one: then more is kept than is needed.)
  if (const auto newest = last.time) {
    if (*newest < before(rules_.now, kSilence)) {
      reference = *newest;
      since = "the archive's newest commit";
      result_.remarks.push_back(
          fmt::format("the newest commit {} is from {}: {} are counted back from it",
                      last.unsure ? "that can be read" : "in the archive", time_text(*newest),
                      format_duration(*rules_.window)));
    } else if (before(*newest, std::chrono::hours(1)) > rules_.now) {
      result_.remarks.push_back(
          fmt::format("the newest commit in the archive is from {}, which is in the future: check "
                      "the clocks of this machine and of the server",
                      time_text(*newest)));
    }
  }
  const auto cutoff = before(reference, *rules_.window);
  for (const auto& line : lines) keep_window_of(line, &line == &main, cutoff, since);
}

void Chooser::keep_window_of(const Line& line, bool main, wal::PgTime cutoff,
                             const std::string& since) {
  // After a hole within the window the oldest backup is the best available one, and no earlier
  // backup is usable there.
  const auto in_window = [&](const Stretch& stretch) {
    const auto newest = wal_.newest_commit(line, stretch);
    return newest.unsure || (newest.time && *newest.time >= cutoff);
  };
  auto stretch = std::find_if(line.stretches.begin(), line.stretches.end(), in_window);
  if (stretch == line.stretches.end()) {
    if (!main) return;  // nothing was committed in this time
    --stretch;
  }
  for (const auto* backup : candidates_) {
    if (!lies_on(*backup->point, line.history) || !lies_in(*backup->point, *stretch)) continue;
    const auto& found = look(*backup, line, *stretch, cutoff);
    if (!can_be_used(*backup, found) || !found.time || *found.time > cutoff) continue;
    keep(*backup, fmt::format("the newest backup that had ended {} before {}: at {}",
                              format_duration(*rules_.window), since, time_text(*found.time)));
    return;
  }
  result_.nothing = true;
  auto text = fmt::format("no backup had ended by {}, {} before {}", time_text(cutoff),
                          format_duration(*rules_.window), since);
  if (!main) text += fmt::format(", on the way to timeline {}", line.history.timeline());
  if (stretch != line.stretches.begin())
    text +=
        fmt::format(" and after the hole, or the unverified boundary, before {}", stretch->begin);
  complain(text + ": nothing is removed");
}

void Chooser::keep_count() {
  std::size_t kept = 0;
  const auto wanted = *rules_.count;
  std::size_t full = 0;
  const archive::BackupPoint* last = nullptr;
  for (const auto* backup : candidates_) {
    const auto& point = *backup->point;
    // An incremental one counts with the full one that it builds upon.
    if (point.parent) continue;
    ++full;
    // Copies of a backup, which follow each other here, count once.
    const bool is_copy =
        last != nullptr && last->timeline == point.timeline && last->start == point.start;
    if (kept == wanted && !is_copy) return;
    if (!lies_on_main(*backup) || !has_its_wal(*backup)) continue;
    if (!is_copy) ++kept;
    keep(*backup, fmt::format("number {} of the newest {}", kept, wanted));
    last = &point;
  }
  if (kept == wanted) return;
  result_.nothing = true;
  if (full == 0) {
    complain("no complete backup was found: nothing is removed");
    return;
  }
  result_.remarks.push_back(
      fmt::format("{} backups are to be kept, and the archive has the WAL of {}: nothing is "
                  "removed",
                  wanted, kept));
}

const WalOfBackup& Chooser::look(const FoundBackup& backup, const Line& line,
                                 const Stretch& stretch, std::optional<wal::PgTime> until) {
  // With a time limit the result may be less.
  if (!until) return looked_[{&backup, 0}] = wal_.look(backup, line, stretch, until);
  const auto [at, is_new] = looked_.try_emplace({&backup, line.history.timeline()});
  if (is_new) at->second = wal_.look(backup, line, stretch, until);
  return at->second;
}

bool Chooser::can_be_used(const FoundBackup& backup, const WalOfBackup& found) {
  switch (found.state) {
    case WalOfBackup::State::sound:
      return true;
    case WalOfBackup::State::not_ended:
      doubt(backup, found.what);
      return false;
    case WalOfBackup::State::stranger:
      remark_once(backup, found.what, false);
      return false;
    case WalOfBackup::State::damaged:
      remark_once(backup, "its WAL in the archive is damaged: " + found.what, true);
      return false;
  }
  return false;
}

void Chooser::keep(const FoundBackup& backup, std::string why) {
  const auto [at, is_new] = why_kept_.try_emplace(&backup, why);
  if (!is_new) {
    if (at->second != why) at->second += "; " + why;
    return;
  }
  result_.kept.push_back(*backup.point);
  // A manifest's path is less specific than the backup's.
  result_.kept.back().file = backup.path;
  // Up to there, a store that is pruned must have its WAL.
  for (const auto& [key, found] : looked_)
    if (key.first == &backup) add_end_of(found, result_.kept.back());
  for (const auto& [key, found] : looked_)
    if (key.first == &backup && found.guessed) {
      result_.remarks.push_back(
          fmt::format("{}: it has no manifest, and its end time is not in the WAL: its start time "
                      "({}) is used instead",
                      backup.path, found.time ? time_text(*found.time) : "not known"));
      break;
    }
}

/// Why the archive has no WAL in which the backup could start; empty: it has.
std::string Chooser::why_no_wal(const FoundBackup& backup) {
  if (!backup.point) return {};
  const auto start = backup.point->start;
  bool on_a_line = false;
  bool before = false;
  bool behind = false;
  for (const auto& line : wal_.lines()) {
    if (!lies_on(*backup.point, line.history)) continue;
    on_a_line = true;
    for (const auto& stretch : line.stretches)
      if (stretch.begin <= start && start < stretch.end) return {};
    before = before || start < line.stretches.front().begin;
    behind = behind || line.stretches.back().end <= start;
  }
  if (!on_a_line) return "of another cluster or branch: the archive has no WAL of its timeline";
  if (behind)
    return "the archive has not reached its start: check whether it belongs to another cluster";
  if (before) return "it started before the archive's first WAL, and cannot be recovered with it";
  return "it started in a hole of the archive, and cannot be recovered with it";
}

void Chooser::tell(const FoundBackup& backup) {
  std::string text = backup.path;
  if (backup.point)
    text += fmt::format(", began at {} on timeline {}{}", backup.point->start,
                        backup.point->timeline, backup.point->parent ? ", incremental" : "");
  const auto begins_before = [&](const auto& other) { return other.start <= backup.point->start; };
  if (const auto kept = why_kept_.find(&backup); kept != why_kept_.end())
    text += ": kept, " + kept->second;
  else if (const auto problem = problems_.find(&backup); problem != problems_.end())
    text += ": " + problem->second;
  else if (needed_.contains(&backup))  // (perhaps without its WAL)
    text += ": an incremental backup that is kept builds upon it";
  else if (const auto absence = why_no_wal(backup); !absence.empty())
    text += ": " + absence;
  else if (result_.nothing || std::any_of(result_.kept.begin(), result_.kept.end(), begins_before))
    text += ": its WAL is kept as well";
  else
    text += ": no longer needed";
  result_.choice.push_back(std::move(text));
}

}  // namespace

Retention choose(const std::vector<FoundBackup>& backups, const Rules& rules, WalFacts& wal) {
  return Chooser(backups, rules, wal).run();
}

void add_end(archive::BackupPoint& backup, WalFacts& wal) {
  const FoundBackup found{.path = backup.file, .point = backup, .vouched = true};
  const auto& lines = wal.lines();
  for (auto line = lines.rbegin(); line != lines.rend() && !backup.end; ++line)
    for (const auto& stretch : line->stretches)
      if (!backup.end && lies_on(backup, line->history) && lies_in(backup, stretch))
        add_end_of(wal.look(found, *line, stretch, std::nullopt), backup);
}

std::string not_in_history_of(wal::TimelineId newest) {
  return fmt::format("it is not in the history of timeline {}, the newest one", newest);
}

bool lies_on(const archive::BackupPoint& backup, const wal::TimelineHistory& history) {
  if (history.timeline_of(backup.start) != backup.timeline) return false;
  if (!backup.end || !backup.end->valid()) return true;
  return history.timeline_of(wal::Lsn(backup.end->byte() - 1)) ==
         (backup.end_timeline != 0 ? backup.end_timeline : backup.timeline);
}

bool lies_in(const archive::BackupPoint& backup, const Stretch& stretch) {
  return stretch.begin <= backup.start && backup.start < stretch.end &&
         (!backup.end || *backup.end <= stretch.end);
}

}  // namespace weir::prune
