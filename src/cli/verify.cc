#include "verify/verify.h"

#include <fmt/format.h>

#include "archive/backup_files.h"
#include "archive/listing.h"
#include "base/exit_status.h"
#include "base/processors.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/help.h"
#include "cli/metrics.h"
#include "cli/store_options.h"
#include "cli/stored_archive.h"
#include "daemon/progress_bar.h"
#include "daemon/stop_request.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "metrics/exporter.h"
#include "verify/beside.h"

namespace weir::cli {

namespace {

/// The losses that are known.
std::string read_accepted(const std::string& path, const std::string& source) {
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;
  try {
    return io::read_small_file(path, kMost);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, fmt::format("could not read the file that {} names", source))
        .with("path", path)
        .with("reason", error.message())
        .hint("Check the path and that this user may read it.");
  }
}

constexpr auto kFrom = option_of<position_value>(
    "from", "LSN|SEGMENT", "check from here on (default: the archive's beginning)");
constexpr auto kTo =
    option_of<position_value>("to", "LSN|SEGMENT", "up to here; the archive must reach it");
constexpr auto kBackup =
    option_of<any_text>("backup", "PATH",
                        "a backup_label, a .backup file, a backup_manifest, a base.tar or a "
                        "backup's directory: can this "
                        "backup be brought to consistency, and how far forward");
constexpr auto kBeside = option_of<any_text>(
    "beside", "DIR",
    "compare it with another archive of the same server, too: what one has that the other lacks, "
    "and segments that are not the same");
constexpr auto kAcceptFile = option_of<any_text>(
    "accept-file", "FILE", "known losses: lines of \"TIMELINE FROM TO REASON\"");
constexpr auto kJson = flag("json", "for programs; docs/verify.md tells the format");
constexpr Option kOptions[] = {
    kDirectory, kFrom,       kTo,          kTimeline.says("only the way to this timeline"),
    kBackup,    kBeside,     kAcceptFile,  kJobs,
    kJson,      kNoProgress, kMetricsFile, kConfig,
    kHelp};

int verify_command(const Arguments& arguments) {
  const bool in_store = arguments.has("store");
  const auto path = in_store ? arguments.get(kDirectory, "") : required_directory(arguments);
  if (in_store && arguments.has(kBeside))
    throw Error(ErrorKind::usage, "--beside and --store both name what is compared with")
        .hint("Give one of them.");

  verify::Options options;
  options.from = arguments.get(kFrom);
  options.to = arguments.get(kTo);
  options.timeline = arguments.get(kTimeline);
  if (const auto backup = arguments.get(kBackup))
    options.backup = archive::read_backup_point(*backup);
  if (const auto file = arguments.get(kAcceptFile))
    options.accepted =
        verify::parse_accepted(read_accepted(*file, arguments.source(kAcceptFile)), *file);
  options.jobs = arguments.get(kJobs, usable_processors());

  const daemon::StopRequest stop;
  options.stop = [&] { return stop.made(); };
  // The store alone, or the directory and what the store has of it.
  std::unique_ptr<StoredArchive> stored;
  if (in_store) stored = open_stored_archive(arguments, [&] { return stop.made(); });
  const auto directory = path.empty() ? nullptr : io::open_existing_directory(path);
  const auto beside = arguments.get(kBeside);
  const auto beside_directory = beside ? io::open_existing_directory(*beside) : nullptr;
  io::Shelf& archive = directory ? static_cast<io::Shelf&>(*directory) : stored->shelf();
  io::Shelf* const other = beside_directory      ? static_cast<io::Shelf*>(beside_directory.get())
                           : directory && stored ? &stored->shelf()
                                                 : nullptr;
  verify::Report report;
  std::optional<verify::BesideReport> compared;
  {
    daemon::ProgressBar bar("verify");
    if (!arguments.has(kNoProgress))
      options.progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
    report = verify::verify(archive, options);
    if (other) compared = verify::compare_archives(archive, *other, options);
  }
  // Before the text, whose reader may have gone.
  if (const auto file = arguments.get(kMetricsFile))
    metrics::write_file(*file,
                        verify_metrics(report, archive.path(), std::chrono::system_clock::now()));
  if (arguments.has(kJson))
    print(verify::to_json(report, compared ? &*compared : nullptr));
  else
    print(verify::to_text(report) + (compared ? "\n" + verify::to_text(*compared) : ""));
  return report.sound() && (!compared || compared->agrees()) ? kDone : kNo;
}

constexpr OptionGroup kGroups[] = {
    {"Options:", kOptions},
    {"An archive in an object store (pgweir store --help):", kStoreOptions}};

}  // namespace

constinit const Command kVerifyCommand = {
    .name = "verify",
    .summary = "check an archive: every record, gaps, timelines, a backup's WAL",
    .about = R"(pgweir verify reads every segment of an archive and says what a recovery would
not find or would stumble over. It never writes and needs no lock.

Usage:
  pgweir verify -D DIRECTORY [OPTION]...
  pgweir verify --store s3://BUCKET/PREFIX [OPTION]...

With --store alone it reads what the store has, every byte of it; with -D, too,
it checks the directory and compares what both have.
)",
    .groups = kGroups,
    .notes = R"(Exit status: 0 a recovery over this range finds everything (and the archive
beside it is the same, between the ends of both); 1 something was found;
2 wrong usage; 3 stopped or may pass; 4 the directory cannot be read.
)",
    .run = verify_command,
};

}  // namespace weir::cli
