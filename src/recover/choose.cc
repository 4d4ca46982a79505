#include "recover/choose.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "archive/backup_files.h"
#include "base/error.h"
#include "base/exit_status.h"
#include "io/user_tree.h"
#include "wal/segment.h"

namespace weir::recover {

namespace {

using recovery::Backup;
using recovery::Obstacle;
using recovery::Promise;
using recovery::Target;

wal::Lsn place_of(const archive::BackupPoint& point) { return point.end.value_or(point.start); }

/// The backup's own WAL, in plain format; empty: it has none.
std::string own_wal(const Backup& backup) {
  auto directory = backup.path + "/pg_wal";
  if (!backup.tars.empty() || io::type_of(directory) != io::PathType::directory) return {};
  for (const auto& entry : io::list_user_directory(directory))
    if (wal::SegmentName::parse(entry.name)) return directory;
  return {};
}

/// The tar file with the own WAL of a backup in tar format; empty: it has none.
std::string own_wal_tar(const Backup& backup) {
  if (backup.tars.empty()) return {};
  const auto& base = backup.tars.front().path;
  const auto slash = base.find_last_of('/');
  const auto directory = slash == std::string::npos ? "./" : base.substr(0, slash + 1);
  for (const auto& entry : io::list_user_directory(directory))
    if (entry.name.starts_with("pg_wal.") && archive::is_tar_name(entry.name))
      return directory + entry.name;
  return {};
}

class Choose {
 public:
  Choose(const Options& options, Report& report)
      : options_(options), report_(report), archives_(options.open({})) {}

  std::optional<Choice> run() {
    // Any of them may be the newest one.
    for (const auto& candidate : options_.backups)
      if (candidate.unreadable && !candidate.beside) pass_over(candidate.path, candidate.problem);
    for (const auto* candidate : newest_first(options_.backups)) {
      if (candidate->beside) continue;
      auto choice = try_one(*candidate);
      if (choice) {
        if (!choice->promise.problem.empty() && !goes_to_older(choice->promise)) {
          tell(*choice);
          return std::nullopt;
        }
        if (choice->promise.problem.empty()) {
          look_at_newer_timelines(*choice);
          if (choice->promise.problem.empty()) {
            tell_of_a_newer_timeline(*choice);
            follow_no_further(*choice);
            return choice;
          }
          tell(*choice);
          return std::nullopt;
        }
        pass_over(candidate->path, choice->promise.problem);
        if (!first_) first_ = std::move(choice);
      }
    }
    if (first_) {
      tell(*first_);
    } else {
      const bool none = report_.passed_over.empty();
      report_.fail(
          kNo, none ? "no base backup was found" : "no base backup that was found can be recovered",
          none ? "Specify a base backup, or a directory of backups, with --backup."
               : "The reason is given for each of them.");
    }
    return std::nullopt;
  }

 private:
  std::optional<Choice> try_one(const Candidate& candidate) {
    if (!candidate.problem.empty() || !candidate.point) {
      // The directory of a tablespace next to a backup looks like an incomplete backup.
      if (!candidate.unreadable && (candidate.point || options_.backups.size() == 1))
        pass_over(candidate.path, candidate.problem);
      return std::nullopt;
    }
    const auto upon = builds_upon(candidate, options_.backups);
    if (!upon) {
      pass_over(candidate.path, "the backup that it builds upon is missing");
      return std::nullopt;
    }
    try {
      Choice choice{.backup = recovery::open_backup(candidate.path, true)};
      for (const auto* each : *upon) choice.upon.push_back(recovery::open_backup(each->path, true));
      choice.backup.point = *candidate.point;
      const auto is_tar = [](const Backup& each) { return !each.tars.empty(); };
      if (!upon->empty() &&
          (is_tar(choice.backup) || std::any_of(choice.upon.begin(), choice.upon.end(), is_tar))) {
        pass_over(candidate.path, std::string(archive::kTarInChain));
        return std::nullopt;
      }
      std::optional<Error> no_wal;  ///< the archive has none of the backup's timeline
      try {
        look(choice, *archives_);
      } catch (const Error& error) {
        // Without any WAL, it is the wrong place, or not mounted.
        if (error.kind() != ErrorKind::gap || !archives_->newest_timeline()) throw;
        no_wal = error;
      }
      const auto obstacle = choice.promise.obstacle;
      const bool lacks_wal = no_wal || obstacle == Obstacle::hole || obstacle == Obstacle::ends ||
                             obstacle == Obstacle::damage || obstacle == Obstacle::no_history;
      if (const auto wal = lacks_wal ? own_wal(choice.backup) : std::string(); !wal.empty()) {
        const auto with_own = options_.open({wal});
        auto again = choice;
        try {
          look(again, *with_own);
        } catch (const Error& error) {
          if (no_wal && error.kind() == ErrorKind::gap) throw *no_wal;
          throw;
        }
        // A standby keeps its restore_command, which therefore must not have --up-to-damage.
        const bool is_whole = !options_.standby || !again.promise.damage_behind;
        if (again.promise.problem.empty() && is_whole) {
          again.more_wal = {wal};
          choice = std::move(again);
        }
      }
      if (no_wal && choice.more_wal.empty()) throw *no_wal;
      const auto& end = choice.backup.point.end;
      if (lacks_wal && (!end || choice.promise.position < *end))
        if (const auto tar = own_wal_tar(choice.backup); !tar.empty())
          choice.promise.hint += fmt::format(
              " The backup's own WAL is in {}: extract it into a new directory, and specify that "
              "directory with another -D.",
              tar);
      // A standby can stream missing WAL.
      if (auto& looked = choice.promise; options_.standby && !looked.problem.empty() &&
                                         looked.obstacle != Obstacle::minimal &&
                                         looked.obstacle != Obstacle::no_history) {
        report_.notes.push_back("the standby must stream WAL that the archive does not have: " +
                                looked.problem);
        looked.problem.clear();
      }
      for (const auto& each : archives_->silent()) choice.silent.push_back(each.archive);
      const auto newest = archives_->newest_timeline();
      const bool left = !options_.timeline && newest && choice.timeline < *newest;
      // Also with a problem: WAL that its branch lacks does not concern the newest timeline.
      if (left && options_.backups.size() > 1) {
        pass_over(candidate.path,
                  fmt::format("it is not in the history of timeline {}, the newest one", *newest) +
                      (options_.standby ? ""
                                        : fmt::format(" (--timeline {} recovers along its own)",
                                                      choice.timeline)));
        return std::nullopt;
      }
      if (left && options_.standby) {
        choice.promise.problem = fmt::format(
            "the backup is not in the history of timeline {}, the newest one, which a standby "
            "follows",
            *newest);
        choice.promise.hint = "Use a backup from which that timeline can be recovered.";
      }
      if (left && choice.promise.problem.empty())
        report_.notes.push_back(recovery::of_a_left_branch(choice.timeline, *newest));
      const bool is_all = no_wal || obstacle == Obstacle::ends;
      if (is_all && !choice.more_wal.empty() && !options_.standby &&
          options_.target.kind == Target::Kind::latest)
        report_.notes.push_back(
            fmt::format("the archive has no WAL of timeline {} after that in the backup, which "
                        "ends at {}: changes that were made later are not recovered. If they are "
                        "wanted, archive or import their WAL first",
                        choice.timeline, choice.promise.position));
      return choice;
    } catch (const Error& error) {
      const auto kind = error.kind();
      const bool of_it = kind == ErrorKind::usage || kind == ErrorKind::damage ||
                         kind == ErrorKind::gap || kind == ErrorKind::conflict;
      if (!of_it) throw;
      if (!archives_->newest_timeline())
        throw Error(ErrorKind::conflict, error.message())
            .with("archive", fmt::format("{}", fmt::join(options_.archives, ", ")))
            .hint("Check that the file system is mounted, and that it is the right directory.");
      if (options_.backups.size() == 1 && kind != ErrorKind::gap && kind != ErrorKind::damage)
        throw;
      pass_over(candidate.path, error.what());
      return std::nullopt;
    }
  }

  void look(Choice& choice, recovery::Archives& archives) {
    try {
      look_through(choice, archives);
    } catch (const Error&) {
      require_answers(archives);
      throw;
    }
    require_answers(archives);
  }

  /// An archive that does not respond may have the WAL that is missing, or a newer timeline, whose
  /// ID the recovered server would assign again. (A standby follows the timelines of its primary.)
  void require_answers(recovery::Archives& archives) const {
    const auto silent = archives.silent();
    if (silent.empty() || options_.standby) return;
    const auto& [archive, error] = silent.front();
    throw Error(ErrorKind::io, "an archive does not respond, and may have other WAL")
        .with("archive", archive < options_.archives.size() ? options_.archives[archive]
                                                            : "pg_wal of the backup")
        .with("error", error.what())
        .hint(error.hint().empty()
                  ? "Make it accessible. If it is permanently lost, remove its -D or --store from "
                    "the command."
                  : error.hint() +
                        " If the archive is permanently lost, remove its -D or --store from the "
                        "command.");
  }

  void look_through(Choice& choice, recovery::Archives& archives) {
    auto way = archives.way(choice.backup.point, options_.timeline);
    choice.timeline = choice.newest_timeline = way.history.timeline();
    choice.newest_begin = *way.history.begin_of(choice.timeline);
    choice.system_identifier = way.system_identifier;
    choice.segment_size = way.segment_size;
    choice.no_promotion = way.no_promotion;
    options_.tell(fmt::format("reading the WAL from the start of {}", choice.backup.path));
    choice.promise =
        recovery::look_through(way, choice.backup.point, options_.target, options_.stop);
  }

  /// An xid or a name may precede the backup, regardless of the WAL after it; so may a time or an
  /// LSN, unless a commit after the backup's start precedes it: an older backup would meet the same
  /// obstacle. To the latest position, or only to be consistent, an older backup may serve whose
  /// end is archived.
  [[nodiscard]] bool goes_to_older(const Promise& promise) const {
    switch (options_.target.kind) {
      case Target::Kind::xid:
      case Target::Kind::name:
        return true;
      case Target::Kind::time:
      case Target::Kind::lsn:
        return promise.obstacle == Obstacle::too_early || !promise.commit;
      case Target::Kind::latest:
      case Target::Kind::immediate:
        return promise.obstacle == Obstacle::too_early || promise.obstacle == Obstacle::ends;
    }
    return false;
  }

  void pass_over(const std::string& path, const std::string& why) {
    report_.passed_over.push_back(path + ": " + why);
  }

  /// Their missing files prevent the recovery, with any backup.
  void look_at_newer_timelines(Choice& choice) {
    auto& promise = choice.promise;
    // (Without a record for it to pause or shut down at, the server is promoted anyway.)
    const bool promoted =
        options_.action == Action::promote ||
        (options_.target.kind == Target::Kind::latest && !promise.last_record.valid());
    if (!choice.no_promotion.empty() && !options_.standby && promoted) {
      promise.obstacle = Obstacle::no_history;
      promise.problem = recovery::of_no_promotion(choice.no_promotion);
      promise.hint = recovery::kNoPromotionHint;
      promise.hint += " Without it, \"--action pause\" recovers the server for read-only queries.";
    }
    if (options_.timeline || options_.target.kind != Target::Kind::latest) return;
    const auto newer = newer_timeline(choice);
    if (!newer || (!newer->lost && newer->backup.empty())) return;
    promise.obstacle = Obstacle::no_history;
    promise.problem = recovery::of_a_timeline_without_wal(*newer, choice.timeline, options_.target,
                                                          choice.promise);
    promise.hint = fmt::format(
        "{} \"--timeline {}{}\" recovers without them{}.",
        newer->lost ? recovery::hint_of_lost_files(*newer)
                    : "Specify the archive that has these files with another -D.",
        choice.timeline, choice.no_promotion.empty() ? "" : " --action pause",
        newer->lost || newer->history
            ? ""
            : fmt::format("; a promotion assigns timeline ID {} again, so first move that backup "
                          "to another directory",
                          newer->timeline));
  }

  /// The newest timeline, if the archive lacks its WAL, and the recovery does not follow it. (A
  /// standby streams it.) A backup of it shows that it had WAL.
  std::optional<recovery::Archives::WithoutWal> newer_timeline(const Choice& choice) {
    auto newer = archives_->newest_without_wal();
    auto newest = std::max(choice.timeline, archives_->newest_timeline().value_or(0));
    if (newer && newer->timeline <= newest) newer.reset();
    if (newer) newest = newer->timeline - 1;
    if (options_.standby || choice.system_identifier == 0) return newer;
    for (const auto& each : options_.backups) {
      if (each.beside || !each.point) continue;
      const auto timeline = std::max(each.point->timeline, each.point->end_timeline);
      if (timeline <= newest || each.point->system_identifier != choice.system_identifier) continue;
      newest = timeline;
      if (!newer || newer->timeline < timeline) newer.emplace().timeline = timeline;
      newer->backup = each.path;
    }
    return newer;
  }

  void tell_of_a_newer_timeline(const Choice& choice) {
    if (options_.timeline) return;
    const auto newer = newer_timeline(choice);
    if (!newer) return;
    auto note = recovery::of_a_timeline_without_wal(*newer, choice.timeline, options_.target,
                                                    choice.promise);
    if (!note.empty() && note != choice.promise.problem) report_.notes.push_back(std::move(note));
  }

  /// A server that is promoted before the timeline that it follows begins writes a history in which
  /// that timeline ends before it begins (StartupXLOG() gives recovery_target_timeline as the
  /// parent to writeTimeLineHistory()). A walsender with this history sends WAL of the older
  /// timeline past the position at which its own cluster has left it. So the server follows the
  /// timeline of the target, if its own files lead there.
  void follow_no_further(Choice& choice) {
    const auto& promise = choice.promise;
    if (options_.timeline || options_.standby || promise.position >= choice.newest_begin) return;
    const auto archives = options_.open(choice.more_wal);
    const auto timeline = archives->way(choice.backup.point, choice.timeline)
                              .history.timeline_of(wal::Lsn(promise.position.byte() - 1));
    auto way = archives->way(choice.backup.point, timeline);
    way.reached.reset();  // (The recovery ends before, along the newest timeline, too.)
    auto same = recovery::look_through(way, choice.backup.point, options_.target, options_.stop);
    if (!same.problem.empty() || same.position != promise.position ||
        way.no_promotion != choice.no_promotion)
      return;
    choice.timeline = timeline;
    choice.promise = std::move(same);
  }

  void tell(const Choice& choice) {
    tell_of_a_newer_timeline(choice);
    report_.backup = choice.backup.path;
    report_.timeline = choice.timeline;
    report_.fail(kNo, choice.promise.problem, choice.promise.hint);
  }

  const Options& options_;
  Report& report_;
  std::unique_ptr<recovery::Archives> archives_;
  std::optional<Choice> first_;  ///< the newest one that does not lead to the target
};

}  // namespace

std::vector<const Candidate*> newest_first(const std::vector<Candidate>& candidates) {
  std::vector<const Candidate*> order;
  for (const auto& each : candidates) order.push_back(&each);
  std::stable_sort(order.begin(), order.end(), [](const Candidate* left, const Candidate* right) {
    if (!left->point || !right->point) return left->point.has_value() && !right->point;
    return place_of(*left->point) > place_of(*right->point);
  });
  return order;
}

std::optional<std::vector<const Candidate*>> builds_upon(const Candidate& candidate,
                                                         const std::vector<Candidate>& candidates) {
  std::vector<const Candidate*> chain;
  const auto* at = &candidate;
  while (at->point->parent) {
    const Candidate* parent = nullptr;
    for (const auto& each : candidates)
      if (each.problem.empty() && archive::is_better_parent(*at->point, each, parent))
        parent = &each;
    if (parent == nullptr) return std::nullopt;
    at = parent;
    chain.insert(chain.begin(), at);
  }
  return chain;
}

std::optional<Choice> choose(const Options& options, Report& report) {
  return Choose(options, report).run();
}

}  // namespace weir::recover
