#include "import/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

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
#include "cli/shared/ask_archive.h"
#include "cli/shared/file_mode.h"
#include "daemon/stop_request.h"
#include "import/archive_command.h"
#include "import/sources.h"
#include "io/owner.h"
#include "io/posix_directory.h"

namespace weir::cli {

namespace {

/// Number of files named for each reason to skip them, if there was no error.
constexpr std::size_t kNamed = 3;

constexpr auto kExtend = flag(
    "extend", "also import WAL before and after the archive's WAL; required for an empty archive");
constexpr auto kReplaceDamaged = flag(
    "replace-damaged",
    "replace the archive's corrupted segments; the replaced files are kept under hidden names");
constexpr auto kImportDryRun =
    flag('n', "dry-run", "only report what would be imported, and what would not");
constexpr auto kImportVerbose = flag('v', "verbose", "report each file that is left out");
constexpr auto kArchiveCommand =
    flag("archive-command",
         "for use as archive_command, with %p as FILE: 0 only if the archive has the file");
constexpr Option kImportOptions[] = {kDirectory,    kExtend,        kReplaceDamaged,
                                     kImportDryRun, kImportVerbose, kArchiveCommand,
                                     kConfig,       kHelp};

void tell(const importing::LeftOut& each, std::set<std::string>& hints) {
  print_stderr("pgweir: left out: {}: {}\n", each.path, each.what);
  if (!each.hint.empty() && hints.insert(each.hint).second) print_stderr("hint: {}\n", each.hint);
}

/// Names each damaged or contradictory file, and some of the files that are only not required.
void tell_left_out(const std::vector<importing::LeftOut>& left_out, bool verbose) {
  std::map<std::string, std::size_t> count;
  std::set<std::string> hints;
  for (const auto& each : left_out) {
    if (each.reason == importing::Reason::not_asked_for && !verbose && count[each.what]++ >= kNamed)
      continue;
    tell(each, hints);
  }
  for (const auto& [what, times] : count)
    if (times > kNamed)
      print_stderr("pgweir: and {} more: {} (--verbose names them)\n", times - kNamed, what);
}

std::string files(std::size_t count, std::string_view what) {
  return fmt::format("{} {}", counted(count, "file"), what);
}

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : std::string(between)) + part;
  return text;
}

/// The last line, for scripts that read one line of the output.
std::string verdict(const importing::Result& result, bool dry_run) {
  std::vector<std::string> parts;
  if (result.named > 0)
    parts.push_back(fmt::format("{} of {} came in or {} there", result.named_in,
                                counted(result.named, "named file"),
                                result.named_in == 1 ? "was" : "were"));
  if (!result.touched.empty())
    parts.push_back("still a hole: " + result.touched.front() +
                    (result.touched.size() > 1
                         ? fmt::format(" and {} more", result.touched.size() - 1)
                         : std::string()));
  parts.insert(parts.end(), result.open.begin(), result.open.end());
  return fmt::format("{}: {}\n", dry_run ? "would not be imported" : "not done",
                     joined(parts, "; "));
}

std::unique_ptr<io::Directory> open_importing_archive(const std::string& path) {
  auto archive = io::open_existing_directory(path);
  archive::require_not_a_server_directory(*archive);
  io::keep_owner(*archive);
  return archive;
}

/// In case of any error, the server must keep the file: never 0, and never above 125, which ends
/// its archiver.
int answer_archive_command(const Arguments& arguments) {
  if (arguments.words().size() != 1)
    throw Error(ErrorKind::usage, "--archive-command takes one file")
        .hint("archive_command = 'pgweir import -D DIRECTORY --archive-command %p'");
  if (arguments.has(kImportDryRun) || arguments.has(kReplaceDamaged))
    throw Error(ErrorKind::usage,
                "--archive-command goes with neither --dry-run nor --replace-damaged");
  const auto path = required_directory(arguments);
  std::optional<importing::LeftOut> left_out;
  try {
    const auto archive = open_importing_archive(path);
    std::unique_ptr<io::Directory> lock;
    const daemon::StopRequest stop;
    importing::ArchiveCommand command{
        .path = arguments.words().front(),
        .try_lock =
            [&] {
              if (lock) return true;
              auto handle = io::open_existing_directory(path);
              if (handle->try_lock()) lock = std::move(handle);
              return lock != nullptr;
            },
        .release_lock = [&] { lock.reset(); },
        .durable_end = [&] { return durable_end_of(path); },
        .prepare = [&] { take_file_mode(*archive, archive::list_archive_names(*archive)); },
        .stop = [&](std::uint64_t) { return stop.made(); },
        .now = format_time(std::chrono::system_clock::now())};
    left_out = importing::archive_file(*archive, command);
  } catch (const Error& error) {
    left_out = importing::LeftOut{arguments.words().front(), importing::Reason::not_sound,
                                  error.what(), error.hint()};
  }
  if (!left_out) return kDone;
  print_stderr("pgweir: not archived: {}: {}\n", left_out->path, left_out->what);
  if (!left_out->hint.empty()) print_stderr("hint: {}\n", left_out->hint);
  return kNo;
}

int import_command(const Arguments& arguments) {
  if (arguments.has(kArchiveCommand)) return answer_archive_command(arguments);
  const auto path = required_directory(arguments);
  const auto archive = open_importing_archive(path);
  std::vector<importing::LeftOut> no_sources;
  importing::Sources found(*archive, no_sources);
  for (const auto& word : arguments.words()) found.add(word);
  const auto sources = found.take();
  take_file_mode(*archive, archive::list_archive_names(*archive));

  importing::Options options;
  options.extend = arguments.has(kExtend);
  options.replace_damaged = arguments.has(kReplaceDamaged);
  options.dry_run = arguments.has(kImportDryRun);
  options.now = format_time(std::chrono::system_clock::now());
  // A handle of its own, so that the lock may go before we do.
  auto lock = io::open_existing_directory(path);
  options.receiver = !lock->try_lock();
  options.release_lock = [&] { lock.reset(); };
  if (options.receiver) options.durable_end = [&] { return durable_end_of(path); };
  if (!options.dry_run)
    archive::remove_leftovers(*archive, std::chrono::system_clock::now() - archive::kAbandoned);

  const daemon::StopRequest stop;
  options.stop = [&](std::uint64_t) { return stop.made(); };
  options.came_in = [](const std::string& name, const std::string& from) {
    print(fmt::format("imported {} from {}\n", name, from));
  };
  options.left_out = std::move(no_sources);
  const auto result = importing::import_wal(*archive, sources, options);

  if (options.dry_run)
    for (const auto& each : result.came)
      print(fmt::format("would import {} from {}{}\n", each.name, each.from,
                        each.replaced ? ", in place of a damaged one" : ""));
  tell_left_out(result.left_out, arguments.has(kImportVerbose));
  print(fmt::format("{}, {}\n",
                    files(result.came.size(), options.dry_run ? "would come in" : "came in"),
                    files(result.present, "of which the archive has the same")));
  for (const auto& id : result.closed)
    print(fmt::format("{}: {}\n", options.dry_run ? "would close" : "closed", id));
  for (const auto& loss : result.minimal_wal)
    print_stderr(
        "pgweir: the server wrote WAL with wal_level=minimal from {} on timeline {} {}: recovery "
        "cannot pass that; recorded as {}\n",
        loss.begin, loss.timeline,
        loss.goes_on ? std::string("on") : fmt::format("to {}", loss.end), loss.id());
  for (const auto& each : result.unvouched) print(fmt::format("look again: {}\n", each.text()));
  for (const auto& hole : result.holes) print(fmt::format("still a hole: {}\n", hole));
  if (result.done()) return kDone;
  print(verdict(result, options.dry_run));
  return result.reason() == importing::Reason::conflict ? kNeedsPerson : kNo;
}

constexpr OptionGroup kImportGroups[] = {{"Options:", kImportOptions}};

}  // namespace

constinit const Command kImportCommand = {
    .name = "import",
    .summary = "repair an archive with WAL from other sources",
    .about = R"(pgweir import copies segments and timeline history files that an archive lacks
from other sources: an archive_command's directory, another pgweir or
pg_receivewal, a server's pg_wal; raw, .partial, .gz, .lz4 or .zst. All WAL is
verified as received WAL is, across the boundaries to the archive's WAL, before
it is renamed into place. Existing files are not changed. A receiver can be
running.

Usage:
  pgweir import -D DIRECTORY [FILE|DIRECTORY]... [OPTION]...

A DIRECTORY can also be one of Barman, pgBackRest or WAL-G. Only missing WAL
within the archive is imported, unless --extend is given. Without a FILE or
DIRECTORY, WAL that an earlier import could verify on one side only is checked
again.
)",
    .groups = kImportGroups,
    .notes = R"(Exit status: 0 each named file is durable in the archive, and no hole remains
that the sources overlap; 1 otherwise: the last line says what is missing;
3 stopped, the disk is full, or prune is running; 4 a file differs from the
archive's of that name, is of another cluster, or is not of its history.
)",
    .most_words = SIZE_MAX,
    .run = import_command,
};

}  // namespace weir::cli
