#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>

#include "base/units.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/connection_options.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/metrics.h"
#include "cli/program.h"
#include "cli/screen.h"
#include "metrics/exporter.h"
#include "receive/status_socket.h"
#include "status/check.h"
#include "status/report.h"
#include "status/text.h"
#include "status/upstream.h"

namespace weir::cli {

namespace {

status::Limits limits_of(const Arguments& arguments) {
  status::Limits limits;
  for (const auto* name : {"max-lag", "max-age"})
    if (arguments.has(name) && !arguments.has("check"))
      throw Error(ErrorKind::usage, fmt::format("--{} needs --check", name));
  if (const auto text = arguments.value("max-lag")) {
    limits.max_lag = parse_size(*text);
    if (!limits.max_lag)
      throw Error(ErrorKind::usage, "--max-lag is no size")
          .with("value", *text)
          .hint("Give it with a unit, such as 64MB or 1GB.");
  }
  if (const auto text = arguments.value("max-age")) {
    limits.max_age = parse_duration(*text);
    if (!limits.max_age)
      throw Error(ErrorKind::usage, "--max-age is no time")
          .with("value", *text)
          .hint("Give it with a unit, such as 90s or 5min.");
  }
  return limits;
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

void ask_server(status::StatusReport& report, const Arguments& arguments,
                const std::string& conninfo) {
  auto slot = arguments.value("slot");
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

int tell_status(const Words& words) {
  auto arguments = Arguments::parse(status_option_list(), words);
  if (arguments.has("help")) {
    print(status_help());
    return kDone;
  }
  add_config(arguments, "status");
  const auto directory = arguments.value("directory");
  if (!directory)
    throw Error(ErrorKind::usage, "no archive directory given")
        .hint("Give it with -D DIRECTORY; see \"pgweir status --help\".");
  const auto limits = limits_of(arguments);
  const bool with_server = arguments.has("dbname") || arguments.has("host") ||
                           arguments.has("port") || arguments.has("username");
  const auto conninfo = with_server ? conninfo_of(arguments) : std::string();
  if (arguments.has("slot")) {
    require_slot_name(arguments, "slot");
    if (!with_server)
      throw Error(ErrorKind::usage, "--slot needs a server to ask")
          .hint("Give it with -d CONNINFO.");
  }

  // The receiver first: it needs no disk, and what it says is then older than what is listed.
  status::StatusReport asked;
  ask_receiver(asked, *directory);
  auto report = status::look(*directory);
  report.receiver = asked.receiver;
  report.receiver_error = asked.receiver_error;
  report.receiver_silent = asked.receiver_silent;
  if (with_server) ask_server(report, arguments, conninfo);

  if (const auto file = arguments.value("metrics-file"))
    metrics::write_file(*file, status_metrics(report, std::chrono::system_clock::now()));
  std::optional<status::Verdict> verdict;
  if (arguments.has("check")) verdict = status::check(report, limits);
  if (arguments.has("json")) {
    print(status::status_json(report, verdict) + "\n");
  } else {
    if (verdict) print(verdict->line + "\n");
    print(status::status_text(report, Screen(STDOUT_FILENO).width(), terminal_is_utf8()));
  }
  return verdict ? static_cast<int>(verdict->level) : kDone;
}

}  // namespace

std::vector<Option> status_option_list() {
  auto list = connection_options();
  for (const Option option :
       {Option{"directory", 'D'}, Option{"slot", 'S'}, Option{"json", '\0', false},
        Option{"check", '\0', false}, Option{"max-lag"}, Option{"max-age"}, Option{"metrics-file"},
        Option{"config", 'c', true, false}, Option{"help", '?', false, false}})
    list.push_back(option);
  return list;
}

int status_command(const Words& words) {
  const bool check = std::find(words.begin(), words.end(), "--check") != words.end();
  if (!check) return tell_status(words);
  // Monitoring reads the first line of the standard output, and 3 as "could not find out".
  const auto unknown = [](std::string_view why) {
    fmt::print("{}\n", status::unknown_line(why));
    return static_cast<int>(status::Level::unknown);
  };
  try {
    return tell_status(words);
  } catch (const Error& error) {
    const auto status = unknown(error.what());
    print_error(error);
    return status;
  } catch (const std::exception& error) {
    return unknown(error.what());
  }
}

}  // namespace weir::cli
