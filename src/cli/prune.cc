#include "prune/prune.h"

#include <fmt/format.h>

#include <optional>

#include "archive/backup_files.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/upkeep.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/help.h"
#include "daemon/stop_request.h"
#include "io/posix_directory.h"
#include "prune/archive_wal.h"
#include "prune/find_backups.h"
#include "prune/retention.h"

namespace weir::cli {

namespace {

constexpr auto kKeep = option_of<time_value<1>>(
    "keep", "TIME", "keep what brings back any moment of the last TIME, such as 7d");
constexpr auto kKeepBackups =
    option_of<count_value<1>>("keep-backups", "N", "keep what the newest N full backups need");
constexpr auto kBackups = option_of<any_text>(
    "backups", "DIR", "where backups are found, at any depth; so may words beside the options say");
constexpr auto kIgnoreBackup = repeated(option_of<any_text>(
    "ignore-backup", "PATH", "pass this one, as if it were not there; may be repeated"));
constexpr auto kKeepFromBackup = option_of<any_text>(
    "keep-from-backup", "PATH [PATH]...",
    "keep what these backups need: each a backup_label, a .backup file, a backup_manifest, a "
    "base.tar or a directory; with the options above: choose among these, too");
constexpr auto kKeepFrom =
    option_of<position_value>("keep-from", "LSN|SEGMENT", "keep this segment and all later ones");
constexpr auto kOlderThan = option_of<time_value<>>(
    "older-than", "TIME", "and remove only files last written so long ago, such as 14d");
constexpr auto kDryRun = flag('n', "dry-run", "only list what would be removed, and say why");
constexpr auto kVerbose = flag('v', "verbose", "name each file, and what each backup counts for");
constexpr Option kOptions[] = {kDirectory,    kKeep,           kKeepBackups, kBackups,
                               kIgnoreBackup, kKeepFromBackup, kKeepFrom,    kOlderThan,
                               kDryRun,       kVerbose,        kConfig,      kHelp};

bool has_rule(const Arguments& arguments) {
  return arguments.has(kKeep) || arguments.has(kKeepBackups);
}

void require_no_stray_words(const Arguments& arguments) {
  for (const std::string_view option : {kBackups.name, kIgnoreBackup.name})
    if (arguments.on_command_line(option))
      throw Error(ErrorKind::usage,
                  fmt::format("{} needs --keep or --keep-backups", arguments.source(option)))
          .hint("See \"pgweir prune --help\".");
  if (arguments.has(kKeepFromBackup) || arguments.words().empty()) return;
  throw Error(ErrorKind::usage,
              fmt::format("unexpected argument \"{}\"", arguments.words().front()))
      .hint("See \"pgweir prune --help\".");
}

prune::Places places(const Arguments& arguments) {
  prune::Places places;
  if (const auto named = arguments.get(kKeepFromBackup)) places.named.push_back(*named);
  if (const auto place = arguments.get(kBackups)) places.searched.push_back(*place);
  for (const auto& word : arguments.words()) places.searched.push_back(word);
  places.ignored = arguments.texts(kIgnoreBackup);
  if (places.named.empty() && places.searched.empty())
    throw Error(ErrorKind::usage, "nothing says where the backups are")
        .hint(
            "Name the directory that has them behind the options, or with --backups; or name each "
            "with --keep-from-backup.");
  return places;
}

/// Chooses the backups that the rules keep, and says what a person should know.
prune::Retention retain(const Arguments& arguments, io::Shelf& archive,
                        const daemon::StopRequest& stop) {
  const auto backups = prune::find_backups(places(arguments));
  prune::Rules rules;
  rules.window = arguments.get(kKeep);
  if (const auto count = arguments.get(kKeepBackups)) rules.count = *count;
  rules.now = wal::PgTime::of(std::chrono::system_clock::now());
  prune::ArchiveWal wal(archive, [&] { return stop.made(); });
  auto retention = prune::choose(backups, rules, wal);
  if (arguments.has(kDryRun) || arguments.has(kVerbose))
    for (const auto& line : retention.choice) fmt::print(stderr, "{}\n", line);
  for (const auto& remark : retention.remarks) fmt::print(stderr, "pgweir: {}\n", remark);
  return retention;
}

void tell_dry_run(const prune::Plan& plan) {
  for (const auto& segments : plan.numbers)
    for (const auto& segment : segments)
      for (const auto& file : segment.files) print(file + "\n");
  fmt::print(stderr, "would remove {} files, {}; kept from {} on, because {}\n", plan.files,
             format_size(plan.bytes), plan.keep_from, plan.reason);
}

void tell_held_back(const prune::Plan& plan) {
  for (const auto& held : plan.held_back)
    fmt::print(
        stderr,
        "pgweir: the replication slot \"{}\" (restart_lsn {}) holds back {} files, {}, from {} "
        "on\n",
        held.slot, held.restart_lsn, held.files, format_size(held.bytes), held.segment);
}

int prune_command(const Arguments& arguments) {
  const auto path = required_directory(arguments);

  prune::Options options;
  options.now = std::chrono::system_clock::now();
  options.keep_from = arguments.get(kKeepFrom);
  options.older_than = arguments.get(kOlderThan);
  if (!has_rule(arguments)) {
    require_no_stray_words(arguments);
    if (const auto backup = arguments.get(kKeepFromBackup))
      options.backups.push_back(archive::read_backup_point(*backup));
    // Any number of backups may be told of: further ones are plain words.
    for (const auto& more : arguments.words())
      options.backups.push_back(archive::read_backup_point(more));
  }

  const daemon::StopRequest stop;
  const auto directory = io::open_existing_directory(path);
  archive::require_some_wal(archive::list_archive_names(*directory), path,
                            io::what_is_nearby(path));
  int status = kDone;
  if (has_rule(arguments)) {
    auto retention = retain(arguments, *directory, stop);
    if (retention.complaint) status = kNo;
    if (retention.nothing) {
      print("nothing was removed\n");
      return status;
    }
    options.backups = std::move(retention.kept);
    options.doubtful = std::move(retention.doubtful);
  }
  std::optional<archive::Upkeep> upkeep;
  if (!arguments.has(kDryRun)) upkeep.emplace(*directory, archive::Upkeep::Kind::prune);
  const auto plan = prune::make_plan(*directory, options);
  tell_held_back(plan);
  if (plan.files == 0) {
    print(plan.keep_from.empty()
              ? "nothing to remove: there is no segment here\n"
              : fmt::format("nothing to remove below {} ({})\n", plan.keep_from, plan.reason));
    return status;
  }
  if (arguments.has(kDryRun)) {
    tell_dry_run(plan);
    return status;
  }
  const bool through = prune::carry_out(
      *directory, plan, [&] { return stop.made(); },
      [&](const std::string& file) {
        if (arguments.has(kVerbose)) print("removed " + file + "\n");
      });
  if (!through)
    throw Error(ErrorKind::retry, "stopped before everything was removed")
        .hint("What is left is without a gap; run the command again.");
  print(fmt::format("removed {} files, {}; kept from {} on, because {}\n", plan.files,
                    format_size(plan.bytes), plan.keep_from, plan.reason));
  return status;
}

constexpr OptionGroup kGroups[] = {{"Options:", kOptions}};

}  // namespace

constinit const Command kPruneCommand = {
    .name = "prune",
    .summary = "remove what no kept backup needs",
    .about = R"(pgweir prune removes the oldest segments of an archive, those that nothing you
keep needs. History files stay. A receiver may be at work meanwhile. What a
replication slot of "pgweir serve" needs stays, too, and is told.

Usage:
  pgweir prune -D DIRECTORY --keep TIME [OPTION]... BACKUPS...
  pgweir prune -D DIRECTORY --keep-backups N [OPTION]... BACKUPS...
  pgweir prune -D DIRECTORY [OPTION]...
)",
    .groups = kGroups,
    .notes = R"(Exit status: 0 done; 1 no backup fulfils --keep, or a backup is in doubt: what
it may need was kept; 2 wrong usage; 3 stopped, or an import is at work; 4
refused.

Called as pg_archivecleanup it takes that program's arguments.
)",
    .most_words = SIZE_MAX,
    .run = prune_command,
};

}  // namespace weir::cli
