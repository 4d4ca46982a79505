#include "compress/compress.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

#include "archive/identity.h"
#include "archive/leftovers.h"
#include "archive/listing.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/print_stderr.h"
#include "cli/shared/file_mode.h"
#include "compress/memory_plan.h"
#include "daemon/progress_bar.h"
#include "daemon/stop_request.h"
#include "io/memory_limit.h"
#include "io/owner.h"
#include "io/posix_directory.h"
#include "io/processor_limit.h"

namespace weir::cli {

namespace {

/// Below the limit of our control group, if there is one: who passes it is killed.
void keep_below_limit(compress::Options& options, wal::SegmentSize segment_size,
                      io::Directory& directory) {
  const auto limit = io::memory_limit();
  if (!limit) return;
  io::limit_dirty_pages(directory, limit->bytes);
  const auto plan =
      compress::plan_memory(limit->bytes, options.compression, options.jobs, segment_size);
  if (!plan)
    throw Error(ErrorKind::usage, "the memory limit of this process is too low")
        .with("limit", format_size(limit->bytes))
        .with("by", limit->from)
        .with("needed", format_size(compress::least_memory(options.compression, segment_size)))
        .hint("Raise the limit (MemoryMax= of a systemd unit, the limit of a container).");
  if (plan->compression.level != options.compression.level)
    print_stderr(
        "pgweir: compressing at level {} instead of {}: the memory limit is {} ({}); see "
        "docs/sizing.md for what each level needs\n",
        plan->compression.level, options.compression.level, format_size(limit->bytes), limit->from);
  options.compression = plan->compression;
  options.jobs = plan->jobs;
}

codec::Compression zstd_value(const std::string& text) {
  const auto compression = hinted_value<codec::Compression::parse>(text);
  if (compression.method != codec::Method::zstd)
    throw Error(ErrorKind::usage, "an archive is converted to zstd only")
        .hint("Use --method zstd or zstd:LEVEL.");
  return compression;
}

constexpr auto kMethod =
    option_of<zstd_value>("method", "zstd[:N]", "compression level (default: zstd's own)");
constexpr auto kCompressDryRun = flag('n', "dry-run", "only list what would be converted");
constexpr Option kCompressOptions[] = {kDirectory,  kMethod, kJobs, kCompressDryRun,
                                       kNoProgress, kConfig, kHelp};

int compress_command(const Arguments& arguments) {
  const auto path = required_directory(arguments);
  compress::Options options;
  options.compression = arguments.get(kMethod, zstd_value("zstd"));
  options.jobs = arguments.get(kJobs, io::worthwhile_threads());

  const auto directory = io::open_existing_directory(path);
  io::keep_owner(*directory);
  archive::require_not_a_server_directory(*directory);
  const auto listing = archive::list_archive(*directory);
  archive::require_some_wal(listing, path, io::what_is_nearby(path));
  take_file_mode(*directory, listing);
  const auto identity = archive::read_identity(*directory, listing);
  const auto work = compress::find_work(listing);
  if (!arguments.has(kCompressDryRun))
    archive::remove_leftovers(*directory, std::chrono::system_clock::now() - archive::kAbandoned);
  if (!identity || work.segments.empty()) {
    const bool finished = std::any_of(listing.segments.begin(), listing.segments.end(),
                                      [](const auto& each) { return !each.name.partial; });
    print(finished ? "nothing to do: all complete segments are zstd already\n"
                   : "nothing to do: there is no complete segment yet\n");
    return kDone;
  }
  if (arguments.has(kCompressDryRun)) {
    for (const auto& forms : work.segments)
      for (const auto& form : forms)
        if (form.name.method != codec::Method::zstd) print(form.name.to_string() + "\n");
    print_stderr("would convert {} segments, {}\n", work.segments.size(), format_size(work.bytes));
    return kDone;
  }

  keep_below_limit(options, identity->segment_size, *directory);
  const daemon::StopRequest stop;
  options.stop = [&] { return stop.made(); };
  compress::Result result;
  {
    daemon::ProgressBar bar("compress");
    if (!arguments.has(kNoProgress))
      options.progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
    result = compress::compress_archive(*directory, work, identity->segment_size, options);
  }
  std::set<std::string> told;
  for (const auto& failure : result.failures) {
    print_stderr("pgweir: {} was left unchanged: {}\n", failure.file, failure.what);
    if (!failure.hint.empty() && told.insert(failure.hint).second)
      print_stderr("hint: {}\n", failure.hint);
  }
  print(fmt::format("converted {} of {} segments, {} to {}\n", result.segments,
                    work.segments.size(), format_size(result.bytes_before),
                    format_size(result.bytes_after)));
  if (result.stopped)
    throw Error(ErrorKind::retry, "stopped before all segments were converted")
        .hint("Run the command again to resume.");
  // "No" means that the archive is not valid; errors of the system are different.
  const auto of_the_archive = [](const auto& failure) {
    return failure.kind == ErrorKind::damage || failure.kind == ErrorKind::conflict;
  };
  if (std::any_of(result.failures.begin(), result.failures.end(), of_the_archive)) return kNo;
  return result.failures.empty() ? kDone : kNeedsPerson;
}

constexpr OptionGroup kCompressGroups[] = {{"Options:", kCompressOptions}};

}  // namespace

constinit const Command kCompressCommand = {
    .name = "compress",
    .summary = "convert an existing archive to zstd in place",
    .about = R"(pgweir compress converts the complete segments of an archive (raw, .gz, .lz4) to
zstd in place. Each segment is verified, and the new file is reread and compared
before the old one is removed. The command can be stopped and run again at any
time, and a receiver can be running.

Usage:
  pgweir compress -D DIRECTORY [OPTION]...
)",
    .groups = kCompressGroups,
    .notes = R"(Exit status: 0 done; 1 some segments are corrupted and were left unchanged.
)",
    .run = compress_command,
};

}  // namespace weir::cli
