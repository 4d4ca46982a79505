#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/job.h"
#include "cli/program.h"
#include "convert/convert.h"
#include "convert/memory_plan.h"
#include "io/memory_limit.h"
#include "io/posix_directory.h"

namespace weir::cli {

namespace {

// A conversion at work writes to its file all the time: so it counts on file systems without locks.
constexpr std::chrono::minutes kAbandoned(30);

/// Below the limit of our control group, if there is one: who passes it is killed.
void keep_below_limit(convert::Options& options, wal::SegmentSize segment_size) {
  const auto limit = io::memory_limit();
  if (!limit) return;
  const auto plan =
      convert::plan_memory(limit->bytes, options.compression, options.jobs, segment_size);
  if (!plan)
    throw Error(ErrorKind::usage, "the memory that this process is allowed does not suffice")
        .with("limit", format_size(limit->bytes))
        .with("by", limit->from)
        .with("needed", format_size(convert::least_memory(options.compression, segment_size)))
        .hint("Raise the limit (MemoryMax= of a systemd unit, the limit of a container).");
  if (plan->compression.level != options.compression.level)
    fmt::print(stderr,
               "pgweir: compressing at level {} instead of {}: more memory than {} is not allowed "
               "({}); see docs/service.md for what each level needs\n",
               plan->compression.level, options.compression.level, format_size(limit->bytes),
               limit->from);
  options.compression = plan->compression;
  options.jobs = plan->jobs;
}

}  // namespace

std::vector<Option> compress_option_list() {
  return {
      {"directory", 'D'},
      {"method"},
      {"jobs", 'j'},
      {"dry-run", 'n', false},
      {"no-progress", '\0', false},
      {"config", 'c', true, false},
      {"help", '?', false, false},
  };
}

int compress_command(const Words& words) {
  auto arguments = Arguments::parse(compress_option_list(), words);
  if (arguments.has("help")) {
    print(compress_help());
    return kDone;
  }
  add_config(arguments, "compress");
  const auto path = arguments.value("directory");
  if (!path) throw Error(ErrorKind::usage, "which archive?").hint("Name its directory with -D.");
  convert::Options options;
  options.compression = codec::Compression::parse(arguments.value("method").value_or("zstd"));
  if (options.compression.method != codec::Method::zstd)
    throw Error(ErrorKind::usage, "an archive is converted to zstd only")
        .hint("Use --method zstd or zstd:LEVEL.");
  const auto jobs = arguments.value("jobs");
  options.jobs = jobs ? jobs_of(*jobs) : all_processors();

  const auto directory = io::open_existing_directory(*path);
  archive::require_not_a_server_directory(*directory);
  const auto listing = archive::list_archive(*directory);
  archive::require_some_wal(listing, *path, io::what_is_nearby(*path));
  const auto identity = archive::read_identity(*directory, listing);
  const auto work = convert::find_work(listing);
  if (!arguments.has("dry-run"))
    convert::remove_leftovers(*directory, std::chrono::system_clock::now() - kAbandoned);
  if (!identity || work.segments.empty()) {
    const bool finished = std::any_of(listing.segments.begin(), listing.segments.end(),
                                      [](const auto& each) { return !each.name.partial; });
    print(finished ? "nothing to do: every finished segment is zstd already\n"
                   : "nothing to do: no segment is finished yet\n");
    return kDone;
  }
  if (arguments.has("dry-run")) {
    for (const auto& forms : work.segments)
      for (const auto& form : forms)
        if (form.name.method != codec::Method::zstd) print(form.name.to_string() + "\n");
    fmt::print(stderr, "would convert {} segments, {}\n", work.segments.size(),
               format_size(work.bytes));
    return kDone;
  }

  keep_below_limit(options, identity->segment_size);
  const StopSignals signals;
  options.stop = StopSignals::stopped;
  convert::Result result;
  {
    ProgressBar bar("compress");
    if (!arguments.has("no-progress"))
      options.progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
    result = convert::convert(*directory, work, identity->segment_size, options);
  }
  std::set<std::string> told;
  for (const auto& failure : result.failures) {
    fmt::print(stderr, "pgweir: {} stays as it is: {}\n", failure.file, failure.what);
    if (!failure.hint.empty() && told.insert(failure.hint).second)
      fmt::print(stderr, "hint: {}\n", failure.hint);
  }
  print(fmt::format("converted {} of {} segments, {} to {}\n", result.segments,
                    work.segments.size(), format_size(result.bytes_before),
                    format_size(result.bytes_after)));
  if (result.stopped)
    throw Error(ErrorKind::retry, "stopped before everything was converted")
        .hint("Run the command again: it goes on from there.");
  // "No" says that the archive is not sound; what the machine refuses is another matter.
  const auto of_the_archive = [](const auto& failure) {
    return failure.kind == ErrorKind::damage || failure.kind == ErrorKind::conflict;
  };
  if (std::any_of(result.failures.begin(), result.failures.end(), of_the_archive)) return kNo;
  return result.failures.empty() ? kDone : kNeedsPerson;
}

}  // namespace weir::cli
