#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/exit_status.h"
#include "base/text.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/durable_end.h"
#include "cli/help.h"
#include "crypto/primitives.h"
#include "daemon/logger.h"
#include "daemon/service_manager.h"
#include "daemon/signals.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "net/ip.h"
#include "net/listener.h"
#include "relay/archive_end.h"
#include "relay/archive_watch.h"
#include "relay/server.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 2s;
constexpr std::uint64_t kLargestFile = 1 << 20;
constexpr std::string_view kUsualPort = "5432";

/// "5433", "192.0.2.7:5433", "[::1]:5433", "*:5433".
struct ListenAddress {
  std::string host;  ///< empty: this machine alone; "*": all
  std::string port;
};
ListenAddress listen_value(const std::string& text) {
  const auto colon = text.rfind(':');
  const bool only_port = colon == std::string::npos;
  ListenAddress address{only_port ? "" : text.substr(0, colon),
                        only_port ? text : text.substr(colon + 1)};
  const auto port = parse_number<unsigned>(address.port);
  if (!port || *port < 1 || *port > 65535)
    throw Error(ErrorKind::usage, "a port is a number from 1 to 65535");
  auto host = address.host == "localhost" ? "" : address.host;
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const auto ip = net::Ip::parse(brackets ? host.substr(1, host.size() - 2) : host);
  if (!host.empty() && host != "*" && (!ip || ip->v6 != brackets))
    throw Error(ErrorKind::usage, "the address is none in numbers")
        .hint("As in 5433 (this machine alone), 192.0.2.7:5433, [2001:db8::7]:5433, *:5433 (all).");
  address.host = std::move(host);
  return address;
}

constexpr auto kListen = option_of<listen_value>(
    "listen", "[ADDRESS:]PORT",
    "listen there; without an address on this machine alone (127.0.0.1), *:PORT on all addresses");
constexpr auto kSocket = option_of<any_text>(
    "serve-socket", "DIR", "listen on a Unix socket in DIR, for the port of --listen, else 5432");
constexpr auto kHba = option_of<any_text>(
    "serve-hba", "FILE",
    "who may connect from where, in the form of pg_hba.conf; without it this machine alone, with "
    "a password");
constexpr auto kUsers = option_of<any_text>(
    "serve-users", "FILE",
    "the users with a password, as lines \"name\" \"SCRAM-SHA-256$...\" with what "
    "pg_authid.rolpassword has; without it no password is right");
constexpr auto kMaxClients = option_of<count_value<1, 10000>>(
    "serve-max-clients", "N", "so many clients at once (default: 100)");
constexpr auto kAuthTimeout = option_of<time_value<kSecond, kDay>>(
    "serve-auth-timeout", "TIME", "who has not shown who it is within TIME is left (default: 60s)");
constexpr auto kQuiet = flag('q', "quiet", "warnings and errors only on standard error");
constexpr Option kOptions[] = {kDirectory, kListen, kSocket, kMaxClients, kQuiet, kConfig, kHelp};
constexpr Option kWho[] = {kHba, kUsers, kAuthTimeout};
constexpr OptionGroup kGroups[] = {{"Options:", kOptions}, {"Who may connect:", kWho}};

struct Request {
  std::string directory;
  std::optional<ListenAddress> listen;
  std::optional<std::string> socket;
  std::optional<std::string> hba;
  std::optional<std::string> users;
  relay::Server::Options server;
  bool quiet = false;
};

Request read_request(const Arguments& arguments) {
  Request request;
  request.directory = required_directory(arguments);
  request.listen = arguments.get(kListen);
  request.socket = arguments.get(kSocket);
  request.hba = arguments.get(kHba);
  request.users = arguments.get(kUsers);
  if (const auto most = arguments.get(kMaxClients)) request.server.max_clients = *most;
  if (const auto time = arguments.get(kAuthTimeout)) request.server.authentication_time = *time;
  request.quiet = arguments.has(kQuiet);
  if (!request.listen && !request.socket)
    throw Error(ErrorKind::usage, "nowhere to listen")
        .hint(
            "Give a port, \"--listen 5433\", or a directory for a Unix socket, \"--serve-socket "
            "/run/pgweir\".");
  return request;
}

/// Throws Error{usage} for a file that is wrong, Error{io} for one that cannot be read.
std::shared_ptr<const relay::Access> read_access(const Request& request) {
  auto access = std::make_shared<relay::Access>();
  const auto read = [](const std::string& path) {
    try {
      return io::read_small_file(path, kLargestFile);
    } catch (const Error& error) {
      throw Error(ErrorKind::usage, error.what());
    }
  };
  if (request.hba) access->rules = relay::Rules::parse(read(*request.hba), *request.hba);
  if (request.users) access->users = relay::Users::parse(read(*request.users), *request.users);
  if (access->rules.needs_own_networks()) access->own_networks = net::own_networks();
  return access;
}

Error cannot_listen(const Error& error, const std::string& where) {
  return Error(ErrorKind::retry, error.message())
      .with("address", where)
      .hint(
          "Another program may listen there (ss -ltnp shows which), or this machine does not have "
          "the address.");
}

/// All addresses: of both versions, or of the old one where there is no other.
net::Listener bind_all(const std::string& port) {
  try {
    return net::Listener::bind(net::Address::tcp("[::]:" + port), net::Kind::bytes);
  } catch (const Error& error) {
    if (error.system_code() != EAFNOSUPPORT && error.system_code() != EADDRNOTAVAIL) throw;
  }
  return net::Listener::bind(net::Address::tcp("0.0.0.0:" + port), net::Kind::bytes);
}

std::vector<net::Listener> bind_listeners(const Request& request) {
  std::vector<net::Listener> listeners;
  if (request.listen) {
    const auto& [host, port] = *request.listen;
    const auto where = fmt::format("{}:{}", host.empty() ? "127.0.0.1" : host, port);
    try {
      listeners.push_back(host == "*"
                              ? bind_all(port)
                              : net::Listener::bind(net::Address::tcp(where), net::Kind::bytes));
    } catch (const Error& error) {
      throw cannot_listen(error, where);
    }
  }
  if (request.socket) {
    const auto path = fmt::format("{}/.s.PGSQL.{}", *request.socket,
                                  request.listen ? request.listen->port : std::string(kUsualPort));
    try {
      // Who may come in is said by the rules, as with a server.
      listeners.push_back(net::Listener::bind_over_stale(net::Address::unix_socket(path), 0777));
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::usage) throw;
      throw cannot_listen(error, path);
    }
  }
  return listeners;
}

void tell_who_may_come(const Request& request, const relay::Access& access, Log& log) {
  constexpr unsigned kOthersMayRead = 04;
  if (const auto file = request.users ? io::look_at_access(*request.users) : std::nullopt;
      file && (file->mode & kOthersMayRead) != 0)
    log.warning("everybody on this machine can read the users file {}: chmod 640", *request.users);
  if (!request.hba && access.users.size() == 0)
    log.warning(
        "nobody can connect: there is no user with a password (--serve-users), and no rules file "
        "(--serve-hba) that lets anybody in without");
  else if (!request.hba)
    log.info("without --serve-hba clients of this machine alone can connect, with a password");
}

int serve(const Request& request, Log& log, daemon::Signals& signals,
          daemon::ServiceManager& service, const std::function<void()>& leave) {
  auto access = read_access(request);
  crypto::load();
  const auto archive = io::open_existing_directory(request.directory);
  const auto cluster = relay::find_cluster(*archive);
  const auto found = cluster ? relay::find_served(*archive, cluster->segment_size) : std::nullopt;
  if (!found)
    throw Error(ErrorKind::retry, "the archive has no WAL that could be served yet")
        .with("directory", request.directory)
        .hint("Start the receiver that fills it first.");
  auto listeners = bind_listeners(request);
  tell_who_may_come(request, *access, log);

  relay::Hub hub(*found);
  relay::Server server(*archive, *cluster, hub, request.server, log);
  server.set_access(access);
  net::Wake stop;
  daemon::Signals::Handlers handlers;
  handlers.stop = [&] {
    service.stopping();
    log.info("asked to stop; once more ends it at once");
    stop.raise();
  };
  handlers.reload = [&] {
    try {
      server.set_access(read_access(request));
      log.info("rules and users are read anew");
    } catch (const Error& error) {
      log.error(error);
      log.warning("the rules and users as they were stay in force");
    }
  };
  handlers.leave = leave;
  signals.start(std::move(handlers));
  try {
    const auto ask = [&] { return durable_end_of(request.directory); };
    const bool receives = ask().has_value();
    relay::ArchiveWatch watch(*archive, cluster->segment_size, ask, hub, log);
    const auto what = fmt::format(
        "serving system {} (PostgreSQL {}), timeline {} up to {}{}", cluster->system_identifier,
        cluster->major, found->timeline(), found->end,
        receives
            ? ", and what its receiver makes durable"
            : "; no receiver tells of more, so new WAL is served once its segment is finished");
    log.info("{}", what);
    for (const auto& listener : listeners)
      log.info("listening on {}", listener.address().to_string());
    service.start();
    service.ready(what);
    server.run(std::move(listeners), stop);
  } catch (...) {
    signals.stop();  // its handlers use what is about to end
    throw;
  }
  signals.stop();
  return kDone;
}

int serve_command(const Arguments& arguments) {
  const auto request = read_request(arguments);
  daemon::ignore_broken_pipes();
  daemon::Signals signals;  // before the first thread
  daemon::Screen screen(STDERR_FILENO);
  daemon::Logger log(screen, request.quiet ? LogLevel::warning : LogLevel::info, std::nullopt);
  int status = kUnexpected;
  try {
    daemon::ServiceManager service(log);
    status = serve(request, log, signals, service,
                   [&] { screen.write_now("pgweir: ended at once by a second signal\n"); });
  } catch (const Error& error) {
    log.error(error);
    status = exit_status(error.kind());
  }
  if (!log.close(kPatience)) ::_exit(status);
  return status;
}

}  // namespace

constinit const Command kServeCommand = {
    .name = "serve",
    .summary = "serve an archive's WAL to standbys and other receivers",
    .about = R"(pgweir serve gives the WAL of an archive to whoever asks for it as one asks a
server: standbys (primary_conninfo), pg_receivewal, other receivers. It needs no
server: standbys stream on while the primary is dead, and one that was away for
long finds everything that the archive has.

Usage:
  pgweir serve -D DIRECTORY --listen [ADDRESS:]PORT [OPTION]...
  pgweir serve -D DIRECTORY --serve-socket DIR [OPTION]...
)",
    .groups = kGroups,
    .notes = R"(What is sent is durable here, and each record of it was checked. The end is that
of the last complete record; while "pgweir receive" streams into the directory,
what that has made durable, within a second. SIGHUP: rules and users are read
anew. There is no TLS and there are no replication slots yet.

Example:
  pgweir serve -D /srv/wal --listen 5433 --serve-users /etc/pgweir/users

Exit status: 0 stopped by SIGTERM or SIGINT; 2 wrong options, rules or users; 3
no WAL yet, or the address is in use; 4 needs a person (damage, I/O errors).
)",
    .run = serve_command,
};

}  // namespace weir::cli
