#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/exit_status.h"
#include "base/failure_log.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/notification_text.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/printer.h"
#include "daemon/command_runner.h"
#include "daemon/long_run.h"
#include "daemon/service_manager.h"
#include "daemon/signals.h"
#include "pgweir/listener.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// While a command runs notifications are still read; maximum number of waiting ones.
constexpr std::size_t kMostWaiting = 1000;
/// The same while the output is not read; in bytes.
constexpr std::size_t kMostUnprinted = std::size_t{8} << 20;
/// With no room for more, the server is not blocked any longer (P13).
constexpr std::chrono::milliseconds kHoldsUpFor = 5s;
constexpr const char* kCommandsTooLong = "the commands take too long";
constexpr std::chrono::milliseconds kStopCheck = 200ms;
constexpr std::chrono::milliseconds kForEver = std::chrono::hours(24 * 365 * 10);

struct Request {
  Listener::Options options;
  bool loop = true;
  bool json = false;
  std::optional<std::string> exec;
  std::optional<std::string> exec_connect;
  std::optional<std::uint64_t> count;
  std::optional<std::chrono::milliseconds> timeout;
  bool quiet = false;
};

constexpr auto kListenJson =
    flag("json", "one JSON object per line, including when listening begins; see docs/notify.md");
constexpr auto kExec = option_of<any_text>(
    "exec", "CMD",
    "command that sh -c runs for each notification, one at a time, in order; see below");
constexpr auto kExecConnect = option_of<any_text>(
    "exec-connect", "CMD",
    "command that is run each time listening has begun: at the start, and after each lost "
    "connection, during which notifications may have been missed");
// A file shared by all commands may contain the receiver's --timeout, which has a different
// meaning.
constexpr auto kCount =
    for_the_command_line(option_of<count_value<1>>("count", "N", "exit after N notifications"));
constexpr auto kTimeout = for_the_command_line(
    option_of<time_value<1, 365 * kDay>>("timeout", "TIME", "exit after this time, such as 30s"));
constexpr auto kNoLoop =
    flag('n', "no-loop", "exit if there is no server, or if the connection is lost");
constexpr auto kListenQuiet = flag('q', "quiet", "only warnings and errors on standard error");
constexpr Option kListenOptions[] = {kListenJson, kExec,        kExecConnect, kCount, kTimeout,
                                     kNoLoop,     kListenQuiet, kConfig,      kHelp};
constexpr Option kListenServer[] = {
    kDbname.says("connection string, URI, or database name (default: database postgres); must be "
                 "the database in which notifications are sent"),
    kHost,
    kPort,
    kUsername.says("any role that can log in"),
    kNoPassword,
};
constexpr OptionGroup kListenGroups[] = {
    {"Options:", kListenOptions},
    {"Server (a primary: standbys have no notifications) and database:", kListenServer},
};

Request read_request(const Arguments& arguments) {
  Request request;
  request.options.channels = arguments.words();
  if (arguments.words().empty())
    throw Error(ErrorKind::usage, "no channel given")
        .hint("As in \"pgweir listen CHANNEL\"; see \"pgweir listen --help\".");
  request.options.conninfo = ordinary_conninfo(conninfo_of(arguments));
  request.loop = !arguments.has(kNoLoop);
  request.json = arguments.has(kListenJson);
  request.quiet = arguments.has(kListenQuiet);
  request.exec = arguments.get(kExec);
  request.exec_connect = arguments.get(kExecConnect);
  request.count = arguments.get(kCount);
  request.timeout = arguments.get(kTimeout);
  return request;
}

std::string channel_list(const std::vector<std::string>& channels) {
  std::string text;
  for (const auto& channel : channels)
    text += fmt::format("{}\"{}\"", text.empty() ? "" : ", ", channel);
  return text;
}

/// Reads and prints notifications and passes them to the commands until stopped, or until the limit
/// is reached.
class Listening {
 public:
  Listening(const Request& request, Log& log, daemon::ServiceManager& service)
      : request_(request),
        log_(log),
        service_(service),
        listener_(options()),
        printer_(kMostUnprinted, [this] { listener_.interrupt(); }),
        runner_(kMostWaiting, log) {}

  int run();
  /// Any thread.
  void stop() {
    stopped_ = true;
    runner_.stop();
    listener_.interrupt();
  }

 private:
  bool read_until_the_end();
  Listener::Options options();
  void begun(const Listener::Listening& listening);
  void print_connected();
  void take(const Notification& notification);
  template <typename Consumer>
  void wait_for(Consumer& consumer, std::string_view who);

  const Request& request_;
  Log& log_;
  daemon::ServiceManager& service_;
  std::atomic<bool> stopped_ = false;
  FailureLog failures_;
  std::uint64_t seen_ = 0;
  std::optional<Error> lost_;                     ///< with --no-loop: what ends it
  std::optional<Listener::Listening> connected_;  ///< not yet passed to --exec-connect
  Listener listener_;
  Printer printer_;
  daemon::CommandRunner runner_;
};

int Listening::run() {
  bool late = false;
  std::exception_ptr failure;
  try {
    late = read_until_the_end();
    service_.excuse(true);
    printer_.finish();
  } catch (const Error&) {
    failure = std::current_exception();
  }
  // Notifications received before a failure are passed on, too.
  service_.excuse(true);
  if (const auto left = runner_.finish(); left > 0)
    log_.warning("stopped: the command was not run for {} received notification(s)", left);
  if (failure) std::rethrow_exception(failure);
  if (stopped_) return kDone;
  const bool short_of_count = late && request_.count;
  return short_of_count || runner_.failures() > 0 ? kNo : kDone;
}

/// True: --timeout has elapsed.
bool Listening::read_until_the_end() {
  const auto deadline = Clock::now() + request_.timeout.value_or(kForEver);
  bool late = false;
  const auto round = service_.heartbeat_interval();
  // The remaining work for the readers of the output.
  struct Leaving {
    explicit Leaving(Listener& from) : listener(from) {}
    Listener& listener;
    ~Leaving() { listener.hang_up(); }
  };
  const Leaving leaving(listener_);
  while (!stopped_ && !late && seen_ != request_.count) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    // A connection attempt gets the time that it needs.
    if (round)
      left = std::min(left, listener_.connected() ? *round : request_.options.connect_timeout);
    const auto notification = listener_.read(std::max(left, 0ms));
    printer_.check();
    print_connected();
    if (notification) {
      ++seen_;
      service_.excuse(true);  // the reader of our output may be slow
      take(*notification);
    }
    if (lost_) throw Error(*lost_);
    service_.heartbeat();
    service_.excuse(!listener_.connected());
    late = !notification && Clock::now() >= deadline;
  }
  return late;
}

Listener::Options Listening::options() {
  auto options = request_.options;
  options.wait_for_server = true;  // so that a signal ends the first attempt, too
  options.on_listening = [this](const auto& listening) { begun(listening); };
  options.on_lost = [this](const Error& error) {
    if (!request_.loop) {
      lost_ = error;
      listener_.interrupt();
      return;
    }
    service_.excuse(true);
    service_.ready(fmt::format("waiting; last error: {}", error.what()));
    failures_.write(error, "retrying. Notifications sent until then will be missed", log_);
  };
  return options;
}

void Listening::begun(const Listener::Listening& listening) {
  const auto now = std::chrono::system_clock::now();
  const auto what = fmt::format("listening on {} ({})", channel_list(request_.options.channels),
                                listening.server);
  failures_.reset();
  log_.info("{}", what);
  service_.ready(what);
  if (listening.missed_since)
    log_.warning("notifications sent between {} and {} may have been missed",
                 format_time(*listening.missed_since), format_time(now));
  if (request_.json) printer_.add(listening_json(listening, now));
  if (!request_.exec_connect) return;
  // Passed on by run(), which disconnects from the server if that takes too long. Missed
  // notifications count from the last event passed on.
  if (connected_)
    connected_->server = listening.server;
  else
    connected_ = listening;
  listener_.interrupt();
}

/// Before the notifications of that connection.
void Listening::print_connected() {
  if (!connected_) return;
  wait_for(runner_, kCommandsTooLong);
  const auto connected = *std::exchange(connected_, std::nullopt);
  runner_.add(
      {*request_.exec_connect,
       {{"PGWEIR_SERVER", connected.server},
        {"PGWEIR_MISSED_SINCE",
         connected.missed_since ? format_iso_time(*connected.missed_since) : std::string()}},
       "the connection",
       false});
}

void Listening::take(const Notification& notification) {
  printer_.add(request_.json ? notification_json(notification, std::chrono::system_clock::now())
                             : notification_text(notification));
  wait_for(printer_, "the output is not read");
  if (!request_.exec) return;
  wait_for(runner_, kCommandsTooLong);
  runner_.add({*request_.exec,
               {{"PGWEIR_CHANNEL", notification.channel},
                {"PGWEIR_PAYLOAD", notification.payload},
                {"PGWEIR_PID", std::to_string(notification.server_pid)}},
               fmt::format("channel \"{}\"", notification.channel)});
}

/// Waits until one more can be accepted. A server process that cannot send to us prevents the
/// cluster's notification queue from being emptied, and VACUUM from removing rows.
template <typename Consumer>
void Listening::wait_for(Consumer& consumer, std::string_view who) {
  if (consumer.wait_for_room(kHoldsUpFor)) return;
  listener_.hang_up();
  const Error error(
      ErrorKind::retry,
      fmt::format("{}: disconnecting from the server, which would have to retain notifications",
                  who));
  if (request_.loop)
    log_.warning("{}. Notifications sent until there is room again will be missed", error.what());
  else
    lost_ = error;
  while (!stopped_ && !consumer.wait_for_room(kStopCheck)) {
  }
}

int listen_command(const Arguments& arguments) {
  const auto request = read_request(arguments);

  daemon::LongRun long_run({.level = request.quiet ? LogLevel::warning : LogLevel::info});
  auto& log = long_run.log();
  int status = kUnexpected;
  try {
    daemon::ServiceManager service(log);
    Listening listening(request, log, service);
    daemon::Signals::Handlers handlers;
    handlers.stop = [&] {
      service.stopping();
      listening.stop();
      log.info("stopping; a second signal exits immediately");
    };
    handlers.reload = [] {};
    const auto handling = long_run.handle(std::move(handlers));
    service.start();
    status = listening.run();
  } catch (const Error& error) {
    log.error(error);
    status = exit_status(error.kind());
  }
  return long_run.end(status);
}

}  // namespace

constinit const Command kListenCommand = {
    .name = "listen",
    .summary = "print notifications (LISTEN), or run a command for each",
    .about = R"(pgweir listen prints the notifications (NOTIFY) on channels, and can run a
command for each one. It reconnects when the connection is lost, and reports
since when notifications may have been missed.

Usage:
  pgweir listen [OPTION]... CHANNEL...
)",
    .groups = kListenGroups,
    .notes = R"(Channel names are case-sensitive: Orders is not orders. In SQL it is
NOTIFY "Orders", or pg_notify('Orders', …).

The environment of a command contains PGWEIR_CHANNEL, PGWEIR_PAYLOAD and
PGWEIR_PID (the sending server process); that of --exec-connect PGWEIR_SERVER
and, after a lost connection, PGWEIR_MISSED_SINCE. Nothing is inserted into the
command: write "$PGWEIR_PAYLOAD" in quotes. A failed command is reported, and
the next one is run.

Example:
  pgweir listen -d "host=db1 dbname=shop" orders --exec 'bill "$PGWEIR_PAYLOAD"'

Exit status: 0 done, or stopped by SIGTERM or SIGINT; 1 --timeout elapsed before
--count notifications, or, with one of the two, a command failed; 2 invalid
options; 3 with --no-loop: no connection, or it was lost; 4 manual intervention
required (no such database, wrong password, only standbys).
)",
    .most_words = 1000,
    .run = listen_command,
};

}  // namespace weir::cli
