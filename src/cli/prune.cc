#include "prune/prune.h"

#include <fmt/format.h>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/job.h"
#include "cli/position.h"
#include "cli/program.h"
#include "io/posix_directory.h"

namespace weir::cli {

namespace {}  // namespace

std::vector<Option> prune_option_list() {
  return {
      {"directory", 'D'},           {"keep-from"},
      {"keep-from-backup"},         {"older-than"},
      {"dry-run", 'n', false},      {"verbose", 'v', false},
      {"config", 'c', true, false}, {"help", '?', false, false},
  };
}

int prune_command(const Words& words) {
  // Any number of backups may be told of: further ones are plain words.
  auto arguments = Arguments::parse(prune_option_list(), words, SIZE_MAX);
  if (arguments.has("help")) {
    print(prune_help());
    return kDone;
  }
  add_config(arguments, "prune");
  const auto path = arguments.value("directory");
  if (!path) throw Error(ErrorKind::usage, "which archive?").hint("Name its directory with -D.");

  prune::Options options;
  options.now = std::chrono::system_clock::now();
  if (const auto text = arguments.value("keep-from"))
    options.keep_from = parse_position(*text, "--keep-from");
  if (const auto text = arguments.value("keep-from-backup")) {
    options.backups.push_back(archive::read_backup_point(*text));
    for (const auto& more : arguments.words())
      options.backups.push_back(archive::read_backup_point(more));
  } else if (!arguments.words().empty()) {
    throw Error(ErrorKind::usage,
                fmt::format("unexpected argument \"{}\"", arguments.words().front()))
        .hint("See \"pgweir prune --help\".");
  }
  if (const auto text = arguments.value("older-than")) {
    options.older_than = parse_duration(*text);
    if (!options.older_than)
      throw Error(ErrorKind::usage,
                  fmt::format("--older-than is a time such as 14d, not \"{}\"", *text));
  }

  const auto directory = io::open_existing_directory(*path);
  archive::require_some_wal(archive::list_archive_names(*directory), *path,
                            io::what_is_nearby(*path));
  const auto plan = prune::make_plan(*directory, options);
  if (plan.files == 0) {
    print(plan.keep_from.empty()
              ? "nothing to remove: there is no segment here\n"
              : fmt::format("nothing to remove below {} ({})\n", plan.keep_from, plan.reason));
    return kDone;
  }
  if (arguments.has("dry-run")) {
    for (const auto& segments : plan.numbers)
      for (const auto& segment : segments)
        for (const auto& file : segment.files) print(file + "\n");
    fmt::print(stderr, "would remove {} files, {}; kept from {} on, because {}\n", plan.files,
               format_size(plan.bytes), plan.keep_from, plan.reason);
    return kDone;
  }
  const StopSignals signals;
  const bool through =
      prune::carry_out(*directory, plan, StopSignals::stopped, [&](const std::string& file) {
        if (arguments.has("verbose")) print("removed " + file + "\n");
      });
  if (!through)
    throw Error(ErrorKind::retry, "stopped before everything was removed")
        .hint("What is left is without a gap; run the command again.");
  print(fmt::format("removed {} files, {}; kept from {} on, because {}\n", plan.files,
                    format_size(plan.bytes), plan.keep_from, plan.reason));
  return kDone;
}

}  // namespace weir::cli
