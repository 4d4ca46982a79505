#include "drill/drill.h"

#include <fmt/format.h>

#include <cstdlib>
#include <exception>

#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/metrics/report_metrics.h"
#include "cli/options/common_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/store_options.h"
#include "cli/print_stderr.h"
#include "cli/shared/keep_check.h"
#include "cli/shared/recovery_archives.h"
#include "cli/shared/restore_setting.h"
#include "cli/shared/stored_archive.h"
#include "daemon/stop_request.h"
#include "io/tree.h"
#include "metrics/exporter.h"
#include "restore/open_archives.h"

namespace weir::cli {

namespace {

drill::Target target_value(const std::string& text) { return drill::Target::parse(text); }

constexpr auto kDrillDirectories = repeated(kDirectory);
constexpr auto kDrillBackup = option_of<any_text>(
    "backup", "BASEBACKUP",
    "base backup: its directory, or pg_basebackup's tar files (their directory, or base.tar)");
constexpr auto kDrillTo =
    option_of<target_value>("to", "TARGET",
                            "recovery target: latest (default; including the current segment), a "
                            "time such as '2026-11-20 03:14:15+00', or an LSN");
constexpr auto kDrillCheck = repeated(option_of<any_text>(
    "check", "SQL",
    "query on the recovered server; its first value must be true; can be repeated"));
constexpr auto kCheckDatabase =
    option_of<any_text>("check-database", "NAME", "database for the queries (default: postgres)");
constexpr auto kCheckUser =
    option_of<any_text>("check-user", "NAME", "superuser of the cluster (default: postgres)");
constexpr auto kSandbox = option_of<any_text>(
    "sandbox", "DIR",
    "directory in which the sandbox is created and removed (default: TMPDIR, or /tmp)");
constexpr auto kDrillBindir =
    option_of<any_text>("bindir", "DIR",
                        "directory of the server's programs (default: "
                        "/usr/lib/postgresql/N/bin, of the backup's version)");
constexpr auto kPreload = option_of<any_text>(
    "preload", "LIBS", "shared_preload_libraries; the backup's own setting is not used");
constexpr auto kDrillJson = flag("json", "JSON output; see docs/drill.md");
constexpr Option kDrillOptions[] = {
    kDrillDirectories.says("archive directory; several form one archive, as for restore"),
    kDrillBackup,
    kDrillTo,
    kSandbox,
    kDrillBindir,
    kPreload,
};
constexpr Option kChecks[] = {kDrillCheck, kCheckDatabase, kCheckUser};
constexpr Option kDrillTelling[] = {kDrillJson, kMetricsFile, kConfig, kHelp};
constexpr Option kDrillProofs[] = {
    kManifestPublicKey
        .says("restore only objects that the manifest proves with this key; can be repeated")
        .of_section("store")};
constexpr OptionGroup kDrillGroups[] = {
    {"Options:", kDrillOptions},
    {kStoreHeading, kStoreItself},
    {"Queries on the recovered server, in addition to pg_amcheck and pg_checksums:", kChecks},
    {"Output:", kDrillTelling},
    {kAccessHeading, kStoreAccessWithSlot, {}, &kOnStore},
    {"Encrypted objects:", kIdentityOptions, {}, &kOnStore},
    {"Proof by the manifest:", kDrillProofs, {}, &kOnStore},
};

std::string default_sandbox() {
  const char* const place = std::getenv("TMPDIR");
  return place != nullptr && *place != '\0' ? place : "/tmp";
}

drill::Options options_of(const Arguments& arguments, const std::vector<std::string>& directories) {
  drill::Options options;
  const auto backup = arguments.get(kDrillBackup);
  if (!backup)
    throw Error(ErrorKind::usage, "no base backup given: --backup BASEBACKUP")
        .hint("See \"pgweir drill --help\".");
  options.backup = *backup;
  options.target = arguments.get(kDrillTo, drill::Target());
  options.checks = arguments.texts(kDrillCheck);
  options.sandbox = arguments.get(kSandbox, default_sandbox());
  options.bindir = arguments.get(kDrillBindir);
  options.preload = arguments.get(kPreload, "");
  options.username = arguments.get(kCheckUser, "postgres");
  options.database = arguments.get(kCheckDatabase, "postgres");
  const auto program = io::read_link("/proc/self/exe");
  options.restore_command = restore_command_for(program.value_or("pgweir"),
                                                {directories, store_words(arguments)}, "--partial");
  options.restore_command_up_to_damage =
      restore_command_for(program.value_or("pgweir"), {directories, store_words(arguments)},
                          "--partial --up-to-damage");
  options.tell = [quiet = arguments.has(kDrillJson)](const std::string& what) {
    if (!quiet) print_stderr("pgweir: {}\n", what);
  };
  return options;
}

int drill_command(const Arguments& arguments) {
  const auto directories = arguments.texts(kDrillDirectories);
  restore::Places places{.directories = directories};
  if (arguments.has("store")) {
    forbid_core_files();
    places.store = store_options_of(arguments, StoreName::said);
  }
  if (places.count() == 0)
    throw Error(ErrorKind::usage, "no archive given: -D DIRECTORY, or --store")
        .hint("See \"pgweir drill --help\".");
  auto options = options_of(arguments, directories);
  if (places.store && !places.store->public_keys.empty()) options.tell(kOnlyProved);

  const daemon::StopRequest stop;  // before any thread
  options.stop = [&stop] { return stop.made(); };
  options.interrupt = &stop.wake();

  ArchivesOfRecovery archives(places);
  auto report = drill::run(options, archives);
  report.archives = places.names();
  const auto now = std::chrono::system_clock::now();
  const bool whole = options.target.kind == drill::Target::Kind::latest;
  if (report.outcome != drill::Outcome::not_tried)
    for (const auto& directory : directories)
      keep_check(directory, archive::LastCheck::Kind::drill, last_check_of(report, whole, now));
  if (arguments.has(kDrillJson))
    print_data(drill::report_json(report));
  else
    print(drill::report_text(report));
  if (const auto file = arguments.get(kMetricsFile)) {
    try {
      metrics::write_file(*file, drill_metrics(report, report.archives.front(), now));
    } catch (const Error& error) {
      print_error(error);  // the outcome of the drill is unchanged
    }
  }
  return static_cast<int>(report.outcome);
}

/// An error that prevented the drill says nothing about the archive.
int drill_failed(const Words&, const std::exception_ptr& failure) {
  const auto status = tell_failure(failure);
  return status == kUsage ? kUsage : static_cast<int>(drill::Outcome::not_tried);
}

}  // namespace

constinit const Command kDrillCommand = {
    .name = "drill",
    .summary = "recover a base backup in a sandbox, and check the result",
    .about = R"(pgweir drill copies a base backup into a sandbox, recovers it from the archive
with a server of its version, compares the position reached with the one that
the archive's WAL leads to, and reports how long it took. The backup and the
archive are only read; the result is recorded for "pgweir status".

Usage:
  pgweir drill -D DIR... --backup BASEBACKUP [--to TARGET] [--check SQL]...
  pgweir drill [-D DIR]... --store s3://BUCKET/PREFIX --backup BASEBACKUP ...
)",
    .groups = kDrillGroups,
    .notes = R"(Do not run it as root. The sandbox is always removed.

Exit status: 0 recovered, and every check passed; 1 missing or corrupted WAL,
the target was not reached, or a check failed; 2 invalid options; 3 the drill
could not run: no server programs of that version, no space, stopped.
)",
    .run = drill_command,
    .failed = drill_failed,
};

}  // namespace weir::cli
