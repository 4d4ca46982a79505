#include "backup/backup.h"

#include <algorithm>
#include <chrono>
#include <exception>

#include "base/exit_status.h"
#include "base/text.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/metrics/report_metrics.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/print_stderr.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/restore_setting.h"
#include "daemon/progress_bar.h"
#include "daemon/stop_request.h"
#include "metrics/exporter.h"

namespace weir::cli {

namespace {

using backup::Format;

constexpr Choice<Format> kFormats[] = {{"plain", Format::plain}, {"tar", Format::tar}};
constexpr Choice<bool> kIncrementals[] = {{"auto", true}, {"off", false}};

struct CompressionMethod {
  std::string_view name;
  int least_level;
  int most_level;
};
/// As in validate_compress_specification() in common/compression.c, without negative levels.
constexpr CompressionMethod kTarMethods[] = {{"gzip", 1, 9}, {"lz4", 0, 12}, {"zstd", 0, 22}};

/// METHOD[:LEVEL], as pg_basebackup's --compress takes it.
std::string compression_value(const std::string& text) {
  const auto colon = text.find(':');
  const auto name = text.substr(0, colon);
  const auto level = colon == std::string::npos ? 1 : parse_number<int>(text.substr(colon + 1));
  for (const auto& [method, least, most] : kTarMethods)
    if (name == method && level && least <= *level && *level <= most) return text;
  throw Error(ErrorKind::usage, "")
      .hint(
          "It can be gzip, zstd or lz4, also with a level: zstd:3 (gzip 1 to 9, lz4 up to 12, "
          "zstd up to 22).");
}

/// As pg_basebackup's --max-rate takes it: kilobytes per second, or with k or M; 32 kB to 1 GB.
std::string rate_value(const std::string& text) {
  constexpr std::uint64_t kLeast = 32, kMost = 1024 * 1024, kMega = 1024;
  const bool mega = text.ends_with('M');
  const bool suffix = mega || text.ends_with('k');
  const auto number =
      parse_number<std::uint64_t>(std::string_view(text).substr(0, text.size() - (suffix ? 1 : 0)));
  if (!number || *number > (mega ? kMost / kMega : kMost) || *number * (mega ? kMega : 1) < kLeast)
    throw Error(ErrorKind::usage, "").hint("Kilobytes per second, or 50M: from 32k to 1024M.");
  return text;
}

constexpr auto kBackupTo =
    option_of<any_text>("to", "DIR", "directory of the backups of this cluster; it must exist");
constexpr auto kFormat =
    option_of<choice_value<kFormats>>("format", "FORMAT", "plain (default), or tar");
constexpr Relation kOnlyTar{
    .others = {{kFormat, "tar"}},
    .hint = "A plain backup is a data directory, whose files cannot be compressed."};
constexpr auto kCompress = option_of<compression_value>(
    "compress", "METHOD[:LEVEL]", "compress tar files with zstd, gzip or lz4 (default: off)",
    {.needs = &kOnlyTar});
constexpr auto kRate =
    option_of<rate_value>("rate", "RATE", "maximum transfer rate, such as 50M (default: no limit)");
constexpr Relation kOnlyPlain{.others = {{kFormat, "tar"}},
                              .value = "auto",
                              .hint = "pg_combinebackup reads plain backups only."};
constexpr auto kIncremental = option_of<choice_value<kIncrementals>>(
    "incremental", "MODE",
    "auto: only what has changed since the newest backup, where that is possible (PostgreSQL 17 "
    "and later); off (default)",
    {.excludes = &kOnlyPlain});
constexpr Relation kWithIncremental{.others = {{kIncremental, "auto"}}, .command_line = true};
constexpr auto kFullEvery = option_of<count_value<1>>(
    "full-every", "N", "with --incremental auto: one backup of N is a full one (default: 7)",
    {.needs = &kWithIncremental});
constexpr auto kWait = option_of<time_value<1>>(
    "wait", "TIME", "maximum time to wait for the archive to have the WAL (default: 10min)");
constexpr auto kBackupBindir = option_of<any_text>(
    "bindir", "DIR",
    "directory of pg_basebackup and pg_verifybackup, of the server's version or newer (default: "
    "/usr/lib/postgresql/N/bin)");
constexpr auto kBackupKeep = option_of<time_value<1>>(
    "keep", "TIME",
    "then remove backups and WAL that recovery to a point in the last TIME does not need, such as "
    "7d");
constexpr auto kBackupKeepBackups = option_of<count_value<1>>(
    "keep-backups", "N", "then remove backups and WAL older than the newest N full backups");
constexpr auto kList = flag("list", "list the backups in --to, then exit");
constexpr auto kBackupDryRun =
    flag('n', "dry-run",
         "check the server, the archive and the programs, and report what would be removed");
constexpr auto kBackupJson = flag("json", "JSON: one object, also if the command fails");

constexpr Option kBackupOptions[] = {
    kDirectory.says("archive directory, which has to get the WAL of the server"),
    kBackupTo,
    kFormat,
    kCompress,
    kIncremental,
    kFullEvery,
    kRate,
    kWait,
    kBackupBindir,
    kBackupDryRun,
};
constexpr Option kRules[] = {kBackupKeep, kBackupKeepBackups};
constexpr Option kBackupServer[] = {kDbname, kHost, kPort, kUsername, kNoPassword};
constexpr Option kBackupTelling[] = {kList, kBackupJson, kMetricsFile, kConfig, kHelp};
constexpr OptionGroup kBackupGroups[] = {
    {"Options:", kBackupOptions},
    {"Connection:", kBackupServer},
    {"Retention:", kRules},
    {"Output:", kBackupTelling},
};

Error wrong_backup(std::string what, std::string_view hint = "See \"pgweir backup --help\".") {
  return Error(ErrorKind::usage, std::move(what)).hint(hint);
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

backup::Options options_of(const Arguments& arguments) {
  backup::Options options;
  if (!arguments.has(kBackupTo.name))
    throw wrong_backup("no directory of the backups given: --to DIR");
  options.to = without_slash(absolute_path(*arguments.get(kBackupTo)));
  options.archive = arguments.get(kDirectory, "");
  if (arguments.has(kList.name)) return options;
  options.archive = required_directory(arguments);
  options.conninfo = conninfo_of(arguments);
  options.format = arguments.get(kFormat, Format::plain);
  options.compress = arguments.get(kCompress, "");
  options.rate = arguments.get(kRate, "");
  options.bindir = arguments.get(kBackupBindir);
  options.incremental = arguments.get(kIncremental, false);
  options.full_every = arguments.get(kFullEvery, options.full_every);
  options.wait = arguments.get(kWait, options.wait);
  options.rules.window = arguments.get(kBackupKeep);
  if (const auto count = arguments.get(kBackupKeepBackups)) options.rules.count = *count;
  options.dry_run = arguments.has(kBackupDryRun.name);
  return options;
}

int tell_list(const backup::Options& options, bool json) {
  const auto standing = backup::list(options);
  const auto now = std::chrono::system_clock::now();
  if (json)
    print_data(backup::list_json(standing, now));
  else
    print(backup::list_text(standing, now));
  const bool good = std::all_of(standing.begin(), standing.end(),
                                [](const auto& each) { return each.good() || each.for_others; });
  return good ? kDone : kNo;
}

int backup_command(const Arguments& arguments) {
  auto options = options_of(arguments);
  const bool json = arguments.has(kBackupJson.name);
  if (arguments.on_command_line(kDbname.name) && has_password(options.conninfo))
    print_stderr("pgweir: {}\n", kPasswordOnCommandLine);

  const daemon::StopRequest stop;  // before any thread
  options.stop = [&stop] { return stop.made(); };
  options.interrupt = &stop.wake();
  if (arguments.has(kList.name)) return tell_list(options, json);

  daemon::ProgressBar bar("backup");
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    if (total > 0) bar.show(done, total);
  };
  options.tell = [json](const std::string& what) {
    if (!json) print_stderr("pgweir: {}\n", what);
  };
  options.durable_end = [directory = options.archive] { return durable_end_of(directory); };
  const auto report = backup::run(options);
  if (json)
    print_data(backup::report_json(report));
  else
    print(backup::report_text(report));
  if (const auto file = arguments.get(kMetricsFile)) {
    try {
      const auto standing = report.standing ? *report.standing : backup::list(options);
      metrics::write_file(*file, backup_metrics(report, standing, options.archive,
                                                std::chrono::system_clock::now()));
    } catch (const Error& error) {
      print_error(error);  // the result of the run does not change
    }
  }
  return report.status;
}

/// With --json, invalid options are reported as an object, too.
int backup_failed(const Words& words, const std::exception_ptr& failure) {
  const auto status = tell_failure(failure);
  if (std::find(words.begin(), words.end(), "--json") != words.end()) {
    backup::Report report;
    report.fail(status, error_of(failure));
    print_data(backup::report_json(report));
  }
  return status;
}

}  // namespace

constinit const Command kBackupCommand = {
    .name = "backup",
    .summary = "take a base backup that the archive can recover",
    .about = R"(pgweir backup takes a base backup with pg_basebackup, waits until the archive
has all WAL that the backup needs, verifies both, and only then gives the backup
its name. Afterwards it removes backups and WAL that the retention policy does
not need.

Usage:
  pgweir backup -D DIR -d CONNINFO --to DIR [OPTION]...
  pgweir backup [-D DIR] --to DIR --list [--json]
)",
    .groups = kBackupGroups,
    .notes = R"(A backup that is being made has a hidden name. The next run removes what an
interrupted run has left.

Exit status: 0 the backup counts; 1 it does not, because of the archive or
damaged data, or another backup in --to does not count; 2 invalid options, or no
such directory; 3 temporary: no connection, no space, no programs, another run,
stopped, --wait over; 4 manual intervention required: another cluster, a server
that has diverged, no permission.
)",
    .run = backup_command,
    .failed = backup_failed,
};

}  // namespace weir::cli
