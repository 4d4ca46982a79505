#include "verify/verify.h"

#include <fmt/format.h>

#include <charconv>

#include "archive/backup_point.h"
#include "archive/listing.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/job.h"
#include "cli/metrics.h"
#include "cli/position.h"
#include "cli/program.h"
#include "io/posix_directory.h"
#include "metrics/exporter.h"

namespace weir::cli {

namespace {}  // namespace

std::vector<Option> verify_option_list() {
  return {
      {"directory", 'D'},
      {"from"},
      {"to"},
      {"timeline"},
      {"jobs", 'j'},
      {"json", '\0', false},
      {"backup"},
      {"accept-file"},
      {"no-progress", '\0', false},
      {"metrics-file"},
      {"config", 'c', true, false},
      {"help", '?', false, false},
  };
}

int verify_command(const Words& words) {
  auto arguments = Arguments::parse(verify_option_list(), words);
  if (arguments.has("help")) {
    print(verify_help());
    return kDone;
  }
  add_config(arguments, "verify");
  const auto path = arguments.value("directory");
  if (!path) throw Error(ErrorKind::usage, "which archive?").hint("Name its directory with -D.");

  verify::Options options;
  if (const auto text = arguments.value("from")) options.from = parse_position(*text, "--from");
  if (const auto text = arguments.value("to")) options.to = parse_position(*text, "--to");
  if (const auto text = arguments.value("timeline")) options.timeline = parse_timeline(*text);
  if (const auto text = arguments.value("backup"))
    options.backup = archive::read_backup_point(*text);
  if (const auto text = arguments.value("accept-file"))
    options.accepted = verify::parse_accepted(read_small_file(*text, "--accept-file"), *text);
  const auto jobs = arguments.value("jobs");
  options.jobs = jobs ? jobs_of(*jobs) : all_processors();

  const StopSignals signals;
  options.stop = StopSignals::stopped;
  const auto directory = io::open_existing_directory(*path);
  verify::Report report;
  {
    ProgressBar bar("verify");
    if (!arguments.has("no-progress"))
      options.progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
    report = verify::verify(*directory, options);
  }
  // Before the text, whose reader may have gone.
  if (const auto file = arguments.value("metrics-file"))
    metrics::write_file(*file, verify_metrics(report, *path, std::chrono::system_clock::now()));
  print(arguments.has("json") ? verify::to_json(report) : verify::to_text(report));
  return report.sound() ? kDone : kNo;
}

}  // namespace weir::cli
