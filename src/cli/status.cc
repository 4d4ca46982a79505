#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>

#include "base/exit_status.h"
#include "base/units.h"
#include "cli/archive_slots.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/help.h"
#include "cli/metrics.h"
#include "daemon/screen.h"
#include "metrics/exporter.h"
#include "receive/status_socket.h"
#include "relay/serve_socket.h"
#include "status/check.h"
#include "status/report.h"
#include "status/text.h"
#include "status/upstream.h"

namespace weir::cli {

namespace {

constexpr auto kJson = flag("json", "for programs; docs/status.md tells the format");
constexpr auto kCheck = flag("check",
                             "begin with a line in the format of monitoring plugins and end with "
                             "their status (below)");
constexpr auto kMaxLag =
    option_of<size_value>("max-lag", "SIZE", "critical if more WAL is missing here, such as 64MB");
constexpr auto kMaxAge = option_of<time_value<>>(
    "max-age", "TIME",
    "critical if the receiver has not heard of the server for so long, such as 5min; an idle "
    "server is heard of");
constexpr auto kBeside = option_of<any_text>(
    "beside", "DIR",
    "another archive of the same server: by names, what one has that the other lacks");
constexpr Option kOptions[] = {kDirectory, kBeside, kJson};
constexpr Option kServer[] = {
    kDbname,   kHost,       kPort,
    kUsername, kNoPassword, kSlot.says("this slot (default: the running receiver's)")};
constexpr Option kMonitoring[] = {kCheck, kMaxLag, kMaxAge, kMetricsFile, kConfig, kHelp};
constexpr OptionGroup kGroups[] = {
    {"Options:", kOptions},
    {"To ask the server, too (where it is, how far the archive is behind, the slot):", kServer},
    {"For monitoring:", kMonitoring},
};

status::Limits limits_of(const Arguments& arguments) {
  for (const Option& option : {Option(kMaxLag), Option(kMaxAge)})
    if (arguments.has(option) && !arguments.has(kCheck))
      throw Error(ErrorKind::usage, fmt::format("{} needs --check", arguments.source(option)));
  return {.max_lag = arguments.get(kMaxLag), .max_age = arguments.get(kMaxAge)};
}

void ask_receiver(status::StatusReport& report, const std::string& path) {
  try {
    report.receiver = receive::StatusSocket::ask(path);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::retry && error.kind() != ErrorKind::io) throw;
    report.receiver_error = error.what();
    report.receiver_silent = error.kind() == ErrorKind::retry;
  }
}

/// Who serves the archive, and whose slots are kept beside it.
void ask_relays(status::StatusReport& report, const std::string& path) {
  constexpr std::chrono::seconds kPatience(5);
  auto relays = relay::ServeSocket::ask(path);
  report.relays = std::move(relays.answers);
  report.relay_errors = std::move(relays.errors);
  try {
    report.slots = list_archive_slots(path, kPatience);
    return;
  } catch (const Error& error) {
    report.slots_error = error.what();
    if (error.kind() != ErrorKind::retry) return;
  }
  try {
    report.slots = read_archive_slots(path);
  } catch (const Error& error) {
    report.slots_error = error.what();
  }
}

void ask_server(status::StatusReport& report, const Arguments& arguments,
                const std::string& conninfo) {
  auto slot = arguments.get(kSlot);
  if (!slot)
    if (const auto receiver = status::receiver_facts(report); receiver && !receiver->slot.empty())
      slot = receiver->slot;
  try {
    status::add_upstream(report, status::ask_upstream(conninfo, ordinary_conninfo(conninfo), slot));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    report.upstream_error = error.what();
    report.upstream_hint = error.hint();
  }
}

bool terminal_is_utf8() {
  for (const auto* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string text(value);
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text.find("utf-8") != std::string::npos || text.find("utf8") != std::string::npos;
  }
  return false;
}

int status_command(const Arguments& arguments) {
  const auto directory = required_directory(arguments);
  const auto limits = limits_of(arguments);
  const bool with_server = arguments.has(kDbname) || arguments.has(kHost) || arguments.has(kPort) ||
                           arguments.has(kUsername);
  const auto conninfo = with_server ? conninfo_of(arguments) : std::string();
  if (arguments.has(kSlot) && !with_server)
    throw Error(ErrorKind::usage, fmt::format("{} needs a server to ask", arguments.source(kSlot)))
        .hint("Give it with -d CONNINFO.");

  // The receiver first: it needs no disk, and what it says is then older than what is listed.
  status::StatusReport asked;
  ask_receiver(asked, directory);
  ask_relays(asked, directory);
  auto report = status::make_report(directory);
  report.relays = std::move(asked.relays);
  report.relay_errors = std::move(asked.relay_errors);
  report.slots = std::move(asked.slots);
  report.slots_error = std::move(asked.slots_error);
  report.receiver = asked.receiver;
  report.receiver_error = asked.receiver_error;
  report.receiver_silent = asked.receiver_silent;
  if (with_server) ask_server(report, arguments, conninfo);
  if (const auto beside = arguments.get(kBeside))
    report.beside = status::look_beside(report, *beside);

  if (const auto file = arguments.get(kMetricsFile))
    metrics::write_file(*file, status_metrics(report, std::chrono::system_clock::now()));
  std::optional<status::Verdict> verdict;
  if (arguments.has(kCheck)) verdict = status::check(report, limits);
  if (arguments.has(kJson)) {
    print(status::status_json(report, verdict) + "\n");
  } else {
    if (verdict) print(verdict->line + "\n");
    print(status::status_text(report, daemon::Screen(STDOUT_FILENO).width(), terminal_is_utf8()));
  }
  return verdict ? static_cast<int>(verdict->level) : kDone;
}

/// Monitoring reads the first line of the standard output, and 3 as "could not find out".
int failed(const Words& words, const std::exception_ptr& failure) {
  const bool check = std::find(words.begin(), words.end(), "--check") != words.end();
  if (!check) return tell_failure(failure);
  const auto error = error_of(failure);
  fmt::print("{}\n", status::unknown_line(error.what()));
  print_error(error);
  return static_cast<int>(status::Level::unknown);
}

}  // namespace

constinit const Command kStatusCommand = {
    .name = "status",
    .summary = "what an archive holds, and how its receiver is doing",
    .about = R"(pgweir status tells what an archive holds and how its receiver is doing. It
asks the running receiver and looks into the directory; it needs no server.

Usage:
  pgweir status -D DIRECTORY [-d CONNINFO] [OPTION]...
)",
    .groups = kGroups,
    .notes = R"(Examples:
  pgweir status -D /srv/wal
  pgweir status -D /srv/wal -d "host=db1 user=repl"
  pgweir status -D /srv/wal --check --max-lag 64MB --max-age 5min

Holes are found by the names of the files alone; "pgweir verify" reads them.

Exit status: 0 told; 2 wrong options; 4 the directory cannot be read.
With --check: 0 OK; 1 WARNING; 2 CRITICAL; 3 UNKNOWN, also for wrong options.
)",
    .run = status_command,
    .failed = failed,
};

}  // namespace weir::cli
