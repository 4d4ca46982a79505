#include <fmt/format.h>

#include <cstdio>

#include "cli/arguments.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/program.h"
#include "cli/status_report.h"
#include "io/posix_directory.h"
#include "receive/status_socket.h"

namespace weir::cli {

namespace {

constexpr Option kOptions[] = {
    {"directory", 'D'}, {"json", '\0', false}, {"check", '\0', false}, {"help", '?', false}};

/// Without a readable header the size of a raw segment tells it.
std::optional<wal::SegmentSize> size_of_a_raw_segment(const archive::Listing& listing) {
  for (const auto& entry : listing.segments)
    if (entry.name.method == codec::Method::none && entry.bytes > 0)
      if (const auto size = wal::SegmentSize::of(entry.bytes)) return size;
  return std::nullopt;
}

StatusReport look(const std::string& path) {
  StatusReport report;
  report.directory = path;
  // First: it needs no disk, and what it says is older than what the listing shows.
  try {
    report.receiver = receive::StatusSocket::ask(path);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::retry && error.kind() != ErrorKind::io) throw;
    report.receiver_error = error.what();
  }
  const auto directory = io::open_directory(path);
  report.free_bytes = directory->free_bytes();
  const auto listing = archive::list_archive(*directory);
  try {
    report.identity = archive::read_identity(*directory, listing);
  } catch (const Error& error) {
    report.damaged.emplace_back(error.what());
  }
  if (report.identity)
    report.segment_size = report.identity->segment_size;
  else
    report.segment_size = size_of_a_raw_segment(listing);
  describe_listing(report, listing, archive::Timelines::read(*directory, listing));
  return report;
}

}  // namespace

int status_command(const Words& words) {
  const auto arguments = Arguments::parse(kOptions, words);
  if (arguments.has("help")) {
    print(status_help());
    return kDone;
  }
  const auto directory = arguments.value("directory");
  if (!directory)
    throw Error(ErrorKind::usage, "no archive directory given")
        .hint("Give it with -D DIRECTORY; see \"pgweir status --help\".");
  const auto report = look(*directory);
  print(arguments.has("json") ? status_json(report) + "\n" : status_text(report));
  if (!arguments.has("check")) return kDone;
  const auto found = check(report);
  for (const auto& what : found) fmt::print(stderr, "pgweir: check: {}\n", what);
  return found.empty() ? kDone : kNo;
}

}  // namespace weir::cli
