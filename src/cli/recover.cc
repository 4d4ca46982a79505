#include "recover/recover.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/store_options.h"
#include "cli/print_stderr.h"
#include "cli/shared/recovery_archives.h"
#include "cli/shared/restore_setting.h"
#include "cli/shared/stored_archive.h"
#include "daemon/progress_bar.h"
#include "daemon/stop_request.h"
#include "io/tree.h"
#include "io/user_tree.h"
#include "prune/find_backups.h"
#include "recover/places.h"
#include "restore/open_archives.h"

namespace weir::cli {

namespace {

using recovery::Target;

recovery::Target any_target(const std::string& text) { return Target::parse_any(text); }

constexpr Choice<recover::Action> kActions[] = {{"promote", recover::Action::promote},
                                                {"pause", recover::Action::pause},
                                                {"shutdown", recover::Action::shutdown}};

constexpr auto kRecoverDirectories = repeated(kDirectory);
constexpr auto kRecoverBackup = repeated(option_of<any_text>(
    "backup", "PATH",
    "a base backup (plain, pg_basebackup's tar files, incremental), or a directory of backups: the "
    "newest one that precedes the target is used; can be repeated"));
constexpr auto kRecoverTo = option_of<any_target>(
    "to", "TARGET",
    "the target: latest (default; includes the current segment), '2026-11-20 03:14:15+00' (without "
    "a time zone: local time), an LSN, xid:N, name:RESTOREPOINT, or immediate");
constexpr auto kExclusive = flag("exclusive", "stop just before that time, LSN or transaction");
constexpr auto kInto = option_of<any_text>(
    "into", "DIR", "the new data directory: absent or empty, except to repeat an interrupted call");
constexpr auto kMapping = repeated(option_of<recover::parse_mapping>(
    'T', "tablespace-mapping", "OLD=NEW",
    "location of the tablespace that was in OLD (default: OLD, if that is absent or empty)"));
constexpr auto kAction = option_of<choice_value<kActions>>(
    "action", "WHAT",
    "at the target: promote (default for latest), pause (default for others), or shutdown");
constexpr Relation kNoTarget{
    .others = {{kRecoverTo}, {kAction}, {kExclusive}, {kTimeline}},
    .hint = "A standby has no recovery target, and follows the newest timeline."};
constexpr auto kStandby = option_of<any_text>(
    "standby", "CONNINFO", "create a standby of that server, which follows the archive as well",
    {.excludes = &kNoTarget});
constexpr Relation kWithStandby{.others = {{kStandby}}};
constexpr auto kStandbySlot = option_of<slot_value>(
    "standby-slot", "NAME", "primary_slot_name of the standby", {.needs = &kWithStandby});
constexpr auto kKeepSetting = repeated(option_of<any_text>(
    "keep-setting", "NAME",
    "do not override this setting of the backup, such as archive_command; can be repeated"));
constexpr auto kRecoverDryRun =
    flag("dry-run", "report what would be reached and done, and change nothing");
constexpr auto kStart =
    flag("start", "start the server, and compare the position reached with the promise");
constexpr Relation kWithStart{.others = {{kStart}}};
constexpr auto kStartCommand = option_of<any_text>(
    "start-command", "CMD", "command that starts the server, instead of pg_ctl (with --start)",
    {.needs = &kWithStart});
constexpr auto kOwner =
    option_of<any_text>("owner", "USER", "if run as root: the user that the server runs as");
constexpr auto kRecoverBindir = option_of<any_text>(
    "bindir", "DIR",
    "the server's programs (default: /usr/lib/postgresql/N/bin of the backup's version)");
constexpr auto kRecoverJson = flag("json", "JSON: one object, also if the command fails");
constexpr Option kRecoverOptions[] = {
    kRecoverDirectories.says("the archive; several are combined, as for restore"),
    kRecoverBackup,
    kRecoverTo,
    kExclusive,
    kTimeline.says("along this timeline's history (default: the newest)"),
    kInto,
    kMapping,
    kRecoverDryRun,
};
constexpr Option kRecoverServer[] = {kStart,       kStartCommand, kAction, kStandby,
                                     kStandbySlot, kKeepSetting,  kOwner,  kRecoverBindir};
constexpr Option kRecoverTelling[] = {kRecoverJson, kConfig, kHelp};
constexpr Option kRecoverProofs[] = {
    kManifestPublicKey
        .says("restore only files that the store's manifest proves with this key; can be repeated")
        .of_section("store")};
constexpr OptionGroup kRecoverGroups[] = {
    {"Options:", kRecoverOptions},
    {"The server:", kRecoverServer},
    {kStoreHeading, kStoreItself},
    {"Output:", kRecoverTelling},
    {kAccessHeading, kStoreAccessWithSlot, {}, &kOnStore},
    {"Encrypted objects:", kIdentityOptions, {}, &kOnStore},
    {"Proof by the manifest:", kRecoverProofs, {}, &kOnStore},
};

Error recover_usage(std::string what, std::string_view hint = "See \"pgweir recover --help\".") {
  return Error(ErrorKind::usage, std::move(what)).hint(hint);
}

recover::Candidate candidate_of(const prune::FoundBackup& found, bool beside) {
  return {.path = found.path,
          .point = found.point,
          .problem = found.problem,
          .beside = beside,
          .in_tar = found.in_tar,
          .unreadable = found.state == prune::FoundBackup::State::unreadable};
}

/// The backups found under --backup, and for an incremental one those next to it.
std::vector<recover::Candidate> find_candidates(
    const std::vector<std::string>& named, const std::function<void(const std::string&)>& tell) {
  prune::Places places{.searched = named};
  auto found = prune::find_backups(places);
  const bool parent_missing = std::any_of(found.begin(), found.end(), [&](const auto& each) {
    return each.point && each.point->parent &&
           std::none_of(found.begin(), found.end(), [&](const auto& other) {
             return other.point && other.point->start == each.point->parent->start;
           });
  });
  std::vector<recover::Candidate> candidates;
  const auto take = [&](const std::vector<prune::FoundBackup>& all) {
    for (const auto& each : all) candidates.push_back(candidate_of(each, false));
  };
  take(found);
  if (!parent_missing) return candidates;
  std::set<std::string> known;
  for (const auto& each : candidates) known.insert(io::real_path(each.path));
  for (const auto& path : named) {
    const auto beside = prune::directory_beside(path);
    if (beside.empty()) continue;
    try {
      for (auto& each : prune::find_backups({.searched = {beside}}))
        if (known.insert(io::real_path(each.path)).second)
          candidates.push_back(candidate_of(each, true));
    } catch (const Error& error) {
      // The incremental backup is passed over; the other ones do not need that directory.
      tell(fmt::format("no base for an incremental backup is searched in {}: {}", beside,
                       error.what()));
    }
  }
  return candidates;
}

std::string absolute(std::string path) {
  path = absolute_path(std::move(path));
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

/// The options that determine the result of the call; --start and the output options do not.
std::string words_of(const Arguments& arguments) {
  std::string words;
  for (const auto& name : arguments.names()) {
    const bool tells = name == kStart.name || name == kStartCommand.name ||
                       name == kRecoverJson.name || name == kConfig.name ||
                       name == kRecoverBindir.name || name == kOwner.name;
    if (tells) continue;
    for (auto text : arguments.texts(name)) {
      if (name == kDirectory.name || name == kRecoverBackup.name || name == kInto.name)
        text = absolute(text);
      words += fmt::format("{}{}={}", words.empty() ? "" : "\n", name, text);
    }
    if (arguments.texts(name).empty()) words += fmt::format("\n{}", name);
  }
  return words;
}

void require_words(const Arguments& arguments, const Target& target) {
  const auto require = [&](const auto& option, const char* what) {
    if (!arguments.has(option.name)) throw recover_usage(what);
  };
  require(kRecoverBackup, "no base backup given: --backup PATH");
  require(kInto, "no data directory given: --into DIR");
  const bool exact = target.kind == Target::Kind::time || target.kind == Target::Kind::lsn ||
                     target.kind == Target::Kind::xid;
  if (arguments.has(kExclusive.name) && !exact)
    throw recover_usage(
        "--exclusive cannot be used with this target",
        "It applies to a time, an LSN and xid:N; PostgreSQL ignores it for others.");
}

recover::Options options_of(const Arguments& arguments, const restore::Places& places) {
  recover::Options options;
  options.target = arguments.get(kRecoverTo, Target());
  require_words(arguments, options.target);
  options.target.exclusive = arguments.has(kExclusive.name);
  options.into = absolute(*arguments.get(kInto));
  options.timeline = arguments.get(kTimeline);
  options.action =
      arguments.get(kAction, options.target.kind == Target::Kind::latest ? recover::Action::promote
                                                                         : recover::Action::pause);
  for (const auto& text : arguments.texts(kMapping)) {
    const auto [from, to] = recover::parse_mapping(text);
    if (!options.mapping.emplace(from, to).second)
      throw recover_usage(fmt::format("two places for the tablespace in {}", from));
  }
  options.keep_settings = arguments.texts(kKeepSetting);
  options.standby = arguments.get(kStandby);
  options.standby_slot = arguments.get(kStandbySlot);
  options.dry_run = arguments.has(kRecoverDryRun.name);
  options.start = arguments.has(kStart.name);
  options.start_command = arguments.get(kStartCommand);
  options.bindir = arguments.get(kRecoverBindir);
  constexpr std::string_view kOfTheShell = "\"$`\\";
  if (options.start && !options.start_command &&
      options.into.find_first_of(kOfTheShell) != std::string::npos)
    throw recover_usage("pg_ctl cannot start a data directory with this name",
                        "Choose a name without \", $, ` and \\, or use --start-command.");
  if (const auto owner = arguments.get(kOwner)) {
    options.owner = io::find_user(*owner);
    if (!options.owner) throw recover_usage(fmt::format("user {} does not exist", *owner));
    if (::geteuid() != 0) {
      if (options.owner->id != ::geteuid()) throw recover_usage("--owner can only be used by root");
      options.owner.reset();
    }
  }
  if (::geteuid() == 0 && !options.owner && !options.dry_run)
    throw recover_usage(
        "a server cannot run as root",
        "Specify the server's user, as in --owner postgres, or run this command as that "
        "user.");

  options.archives = places.names();
  for (const auto& directory : places.directories)
    options.archive_directories.push_back(absolute(directory));
  options.words = words_of(arguments);
  options.open = [places,
                  standby = options.standby.has_value()](const std::vector<std::string>& more) {
    auto all = places;
    all.directories.insert(all.directories.end(), more.begin(), more.end());
    const auto of_backup = more.empty() ? std::nullopt : std::optional(places.directories.size());
    return std::make_unique<ArchivesOfRecovery>(all, standby, of_backup);
  };
  options.restore_command = [directories = options.archive_directories,
                             store = store_words(arguments),
                             program = io::read_link("/proc/self/exe").value_or("pgweir")](
                                const std::vector<std::size_t>& without,
                                const std::vector<std::string>& more, const std::string& option) {
    RestoreFrom from;
    const auto is_left_out = [&](std::size_t place) {
      return std::find(without.begin(), without.end(), place) != without.end();
    };
    for (std::size_t place = 0; place < directories.size(); ++place)
      if (!is_left_out(place)) from.directories.push_back(directories[place]);
    for (const auto& each : more) from.directories.push_back(absolute(each));
    if (!is_left_out(directories.size())) from.store = store;
    return restore_command_for(program, from, option);
  };
  options.tell = [quiet = arguments.has(kRecoverJson.name)](const std::string& what) {
    if (!quiet) print_stderr("pgweir: {}\n", what);
  };
  return options;
}

void tell(const recover::Report& report, bool json) {
  if (json)
    print_data(recover::report_json(report));
  else
    print(recover::report_text(report));
}

int recover_command(const Arguments& arguments) {
  restore::Places places{.directories = arguments.texts(kRecoverDirectories)};
  if (arguments.has("store")) {
    forbid_core_files();
    places.store = store_options_of(arguments, StoreName::said);
  }
  if (places.count() == 0) throw recover_usage("no archive given: -D DIRECTORY, or --store");
  auto options = options_of(arguments, places);
  if (places.store && !places.store->public_keys.empty()) options.notes.emplace_back(kOnlyProved);

  const daemon::StopRequest stop;  // before any thread
  options.stop = [&stop] { return stop.made(); };
  options.interrupt = &stop.wake();
  std::string_view phase;
  std::optional<daemon::ProgressBar> bar;  // each phase has its own rate and time left
  options.progress = [&](std::string_view what, std::uint64_t done, std::uint64_t total) {
    if (std::exchange(phase, what) != what) bar.emplace(what);
    bar->show(done, total);
  };
  options.tell = [&, line = options.tell](const std::string& what) {
    phase = {};
    bar.reset();
    line(what);
  };
  options.backups = find_candidates(arguments.texts(kRecoverBackup), options.tell);
  const auto report = recover::run(options);
  tell(report, arguments.has(kRecoverJson.name));
  return report.status;
}

/// Invalid command lines are also reported as an object, if JSON was requested.
int recover_failed(const Words& words, const std::exception_ptr& failure) {
  const auto status = tell_failure(failure);
  if (std::find(words.begin(), words.end(), "--json") != words.end()) {
    recover::Report report;
    report.fail(status, error_of(failure));
    print_data(recover::report_json(report));
  }
  return status;
}

}  // namespace

constinit const Command kRecoverCommand = {
    .name = "recover",
    .summary = "recover a server from a base backup and the archive",
    .about = R"(pgweir recover creates a data directory from a base backup, and recovers it from
the archive. Before anything is copied, it reads the WAL to the target, checks
every record, and reports which commit will be reached, or why not. The archive
and the backup are only read. The new directories must be absent or empty. If it
is interrupted, the same command continues; it empties directories that are
still incomplete, and copies again.

Usage:
  pgweir recover -D DIR... --backup PATH... --into DIR [--to TARGET] [--start]
  pgweir recover [-D DIR]... --store s3://BUCKET/PREFIX --backup PATH --into DIR
  pgweir recover ... --dry-run
)",
    .groups = kRecoverGroups,
    .notes = R"(Run it as the server's user, or as root with --owner. After an interruption, the
same command continues.

Exit status: 0 the target was reached, or without --start the directory is
prepared; 1 it cannot be reached, or was not; 2 invalid options, or no such
backup; 3 temporary: no space, no server programs, no permission to read,
interrupted; 4 manual intervention required: a directory is not empty, an
archive does not respond, the backup is of another cluster.
)",
    .run = recover_command,
    .failed = recover_failed,
};

}  // namespace weir::cli
