#include "prune/prune.h"

#include <fmt/format.h>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/help.h"
#include "daemon/stop_request.h"
#include "io/posix_directory.h"

namespace weir::cli {

namespace {

constexpr auto kKeepFromBackup = option_of<any_text>(
    "keep-from-backup", "PATH [PATH]...",
    "keep what these backups need: each a backup_label, a .backup file, a backup_manifest or a "
    "directory");
constexpr auto kKeepFrom =
    option_of<position_value>("keep-from", "LSN|SEGMENT", "keep this segment and all later ones");
constexpr auto kOlderThan = option_of<time_value<>>(
    "older-than", "TIME", "and remove only files last written so long ago, such as 14d");
constexpr auto kDryRun = flag('n', "dry-run", "only list what would be removed");
constexpr auto kVerbose = flag('v', "verbose", "name each file");
constexpr Option kOptions[] = {kDirectory, kKeepFromBackup, kKeepFrom, kOlderThan,
                               kDryRun,    kVerbose,        kConfig,   kHelp};

int prune_command(const Arguments& arguments) {
  const auto path = required_directory(arguments);

  prune::Options options;
  options.now = std::chrono::system_clock::now();
  options.keep_from = arguments.get(kKeepFrom);
  if (const auto backup = arguments.get(kKeepFromBackup)) {
    options.backups.push_back(archive::read_backup_point(*backup));
    // Any number of backups may be told of: further ones are plain words.
    for (const auto& more : arguments.words())
      options.backups.push_back(archive::read_backup_point(more));
  } else if (!arguments.words().empty()) {
    throw Error(ErrorKind::usage,
                fmt::format("unexpected argument \"{}\"", arguments.words().front()))
        .hint("See \"pgweir prune --help\".");
  }
  options.older_than = arguments.get(kOlderThan);

  const auto directory = io::open_existing_directory(path);
  archive::require_some_wal(archive::list_archive_names(*directory), path,
                            io::what_is_nearby(path));
  const auto plan = prune::make_plan(*directory, options);
  if (plan.files == 0) {
    print(plan.keep_from.empty()
              ? "nothing to remove: there is no segment here\n"
              : fmt::format("nothing to remove below {} ({})\n", plan.keep_from, plan.reason));
    return kDone;
  }
  if (arguments.has(kDryRun)) {
    for (const auto& segments : plan.numbers)
      for (const auto& segment : segments)
        for (const auto& file : segment.files) print(file + "\n");
    fmt::print(stderr, "would remove {} files, {}; kept from {} on, because {}\n", plan.files,
               format_size(plan.bytes), plan.keep_from, plan.reason);
    return kDone;
  }
  const daemon::StopRequest stop;
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
  return kDone;
}

constexpr OptionGroup kGroups[] = {{"Options:", kOptions}};

}  // namespace

constinit const Command kPruneCommand = {
    .name = "prune",
    .summary = "remove what no kept backup needs",
    .about = R"(pgweir prune removes the oldest segments of an archive, those that nothing you
keep needs. History files stay. A receiver may be at work meanwhile.

Usage:
  pgweir prune -D DIRECTORY [OPTION]...
)",
    .groups = kGroups,
    .notes = R"(Called as pg_archivecleanup it takes that program's arguments.
)",
    .most_words = SIZE_MAX,
    .run = prune_command,
};

}  // namespace weir::cli
