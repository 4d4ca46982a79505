#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <random>

#include "base/exit_status.h"
#include "cli/help.h"
#include "cli/options/connection_options.h"
#include "cli/options/logical_options.h"
#include "daemon/command_runner.h"
#include "daemon/long_run.h"
#include "daemon/service_manager.h"
#include "daemon/signals.h"
#include "io/child_process.h"
#include "io/posix_directory.h"
#include "logical/pgoutput.h"
#include "logical/publications.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/slot_view.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
using Verb = LogicalRequest::Verb;

/// Runs the user's command with the snapshot's name and position in its environment. True if it
/// ended with status 0.
bool run_with_snapshot(const std::string& command, const std::string& snapshot, wal::Lsn position,
                       const net::Wake& stop, Log& log) {
  log.info("snapshot {} at {} for: {}", snapshot, position, command);
  io::ChildProcess child(
      io::shell_command(command),
      {.environment = daemon::environment_with(
           {{"PGWEIR_SNAPSHOT", snapshot}, {"PGWEIR_LSN", fmt::format("{}", position)}}),
       .own_input = true});
  bool ended_by_us = false;
  while (!child.wait(20ms)) {
    if (!stop.raised() || ended_by_us) continue;
    child.signal(SIGTERM);
    ended_by_us = true;
  }
  if (ended_by_us) throw net::Interrupted{};
  const auto end = child.wait();
  if (!end.success()) log.warning("the snapshot command failed: {}", end.to_string());
  return end.success();
}

/// "a/b" → "a", "b"; "b" → ".", "b".
std::pair<std::string, std::string> split_path(const std::string& path) {
  const auto slash = path.rfind('/');
  auto name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..")
    throw Error(ErrorKind::usage, fmt::format("\"{}\" is not a file name", path));
  if (slash == std::string::npos) return {".", std::move(name)};
  return {slash == 0 ? "/" : path.substr(0, slash), std::move(name)};
}

/// The status shown by systemd.
class ServiceStatus {
 public:
  ServiceStatus(daemon::ServiceManager& service, const std::string& slot)
      : service_(service), slot_(slot) {}

  void operator()(const logical::Progress& progress) {
    if (!progress.streaming) {
      streaming_ = false;
      service_.ready(fmt::format("waiting; last error: {}", progress.error));
      return;
    }
    const auto line = fmt::format("streaming from slot \"{}\" ({}) of {}, durable up to {}", slot_,
                                  progress.plugin, progress.server, progress.durable);
    if (std::exchange(streaming_, true))
      service_.set_line(line);
    else
      service_.ready(line);
  }

 private:
  daemon::ServiceManager& service_;
  const std::string& slot_;
  bool streaming_ = false;
};

int stream(LogicalRequest& request, Log& log, logical::Requests& requests,
           daemon::ServiceManager& service) {
  try {
    auto& options = request.options;
    std::unique_ptr<io::Directory> directory;
    if (request.exact) {
      auto [place, name] = split_path(options.path);
      directory = io::open_directory(place);
      if (const auto entry = directory->find(name);
          entry && entry->type != io::DirectoryEntry::Type::file)
        throw Error(ErrorKind::usage,
                    fmt::format("the output \"{}\" is not a regular file", options.path))
            .hint("Only a regular file can have a state. For a device or a FIFO, add --no-state.");
      options.directory = directory.get();
      options.path = std::move(name);
    }
    if (!request.snapshot_command.empty())
      options.with_snapshot = [&](const std::string& snapshot, wal::Lsn position) {
        return run_with_snapshot(request.snapshot_command, snapshot, position, requests.stop_wake(),
                                 log);
      };
    logical::Environment environment{
        .requests = requests, .log = log, .seed = std::random_device()()};
    environment.progress = ServiceStatus(service, options.slot);
    if (const auto interval = service.heartbeat_interval()) {
      environment.alive = [&] { service.heartbeat(); };
      environment.busy = [&](bool busy) { service.excuse(busy); };
      environment.alive_interval = interval;
    }
    const auto summary = logical::stream(options, environment);
    log.info("stopped at {}; {} messages", summary.position, summary.messages);
    return kDone;
  } catch (const net::Interrupted&) {
    return kDone;  // before anything was started
  } catch (const Error& error) {
    log.error(error);
    if (request.log_file) print_error(error);
    return exit_status(error.kind());
  }
}

int stream_command(LogicalRequest& request) {
  daemon::LongRun long_run({.level = request.level, .file = request.log_file});
  auto& log = long_run.log();
  logical::Requests requests;
  daemon::Signals::Handlers handlers;
  daemon::ServiceManager service(log);
  handlers.stop = [&] {
    service.stopping();
    requests.stop();
  };
  handlers.reload = [&] {
    service.reloading();
    log.reopen();
    requests.reopen();
    service.reloaded();
  };
  int status = kUnexpected;
  {
    const auto handling = long_run.handle(std::move(handlers));
    service.start();
    status = stream(request, log, requests, service);
  }
  service.stop();
  return long_run.end(status);
}

pq::Connection connect(const LogicalRequest& request, const net::Wake& never) {
  return pq::Connection::open(
      {.conninfo = request.options.conninfo, .replication = pq::Replication::logical}, never);
}

int create(const LogicalRequest& request) {
  const net::Wake never;
  auto connection = connect(request, never);
  const auto& name = request.options.slot;
  const auto slot = pq::create_logical_slot(connection, name, request.slot);
  if (!slot && !request.options.if_not_exists)
    throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" exists already", name))
        .with("server", connection.server_name())
        .hint("With --if-not-exists, this is not an error.");
  print(slot ? fmt::format("replication slot \"{}\" created with {}; its stream begins at {}\n",
                           name, request.slot.plugin, slot->consistent_point)
             : fmt::format("replication slot \"{}\" exists already\n", name));
  return kDone;
}

int drop(const LogicalRequest& request) {
  const net::Wake never;
  auto connection = connect(request, never);
  const auto& name = request.options.slot;
  try {
    pq::drop_slot(connection, name);
  } catch (const Error& error) {
    if (error.sqlstate() != "42704" || !request.if_exists) throw;
    print(fmt::format("replication slot \"{}\" does not exist\n", name));
    return kDone;
  }
  print(fmt::format("replication slot \"{}\" dropped\n", name));
  return kDone;
}

/// "\x1f2e", as SQL prints bytea.
std::string from_hex(const std::string& text) {
  const auto digit = [&](char c) -> unsigned {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    throw Error(ErrorKind::protocol, "unexpected bytea format from the server");
  };
  if (!text.starts_with("\\x") || text.size() % 2 != 0) digit('\0');
  std::string bytes;
  for (std::size_t i = 2; i < text.size(); i += 2)
    bytes += static_cast<char>(digit(text[i]) << 4 | digit(text[i + 1]));
  return bytes;
}

/// The SQL functions: the current content of the slot, with or without advancing it.
int preview(LogicalRequest& request) {
  const net::Wake never;
  auto connection = pq::Connection::open({.conninfo = ordinary_conninfo(request.options.conninfo),
                                          .replication = pq::Replication::none},
                                         never);
  connection.execute("SET bytea_output = 'hex'");
  const auto slot = connection.quote_literal(request.options.slot);
  const auto known = pq::find_slot(connection, request.options.slot);
  if (!known || known->type != "logical")
    throw Error(ErrorKind::refused,
                fmt::format("there is no logical replication slot \"{}\"", request.options.slot))
        .with("server", connection.server_name())
        .hint("\"pgweir slot list\" shows the existing slots.");
  const auto plugin = known->plugin.value_or("");
  auto options = request.options.plugin_options;
  const bool binary = plugin == "pgoutput";
  if (binary) {
    logical::require_publications(connection, options);
    logical::complete_pgoutput_options(connection.server_major(), options);
  }
  std::string array = "ARRAY[";
  for (const auto& [name, value] : options) {
    if (array.back() != '[') array += ',';
    array += connection.quote_literal(name) + "," +
             (value ? connection.quote_literal(*value) : std::string("NULL"));
  }
  array += "]::text[]";
  const auto statement = fmt::format(
      "SELECT lsn, data FROM pg_catalog.pg_logical_slot_{}{}_changes({}, {}, {}, "
      "VARIADIC {})",
      request.verb == Verb::peek ? "peek" : "get", binary ? "_binary" : "", slot,
      request.options.endpos ? connection.quote_literal(request.options.endpos->to_string())
                             : "NULL",
      request.limit ? std::to_string(*request.limit) : "NULL", array);
  const auto rows = [&] {
    try {
      return connection.execute(statement, 24h);
    } catch (const Error& error) {
      if (!binary || error.sqlstate() != "42704") throw;
      throw logical::younger_publication(error);
    }
  }();
  logical::Formatter formatter(request.options.form, plugin);
  try {
    for (const auto& row : rows) {
      const auto lsn = wal::Lsn::parse(row[0].value_or(""));
      const auto data = row[1].value_or("");
      print_data(formatter.line(lsn.value_or(wal::Lsn()), binary ? from_hex(data) : data));
    }
  } catch (const Error& error) {
    if (request.verb == Verb::peek) throw;
    throw Error(error).hint(
        "The server has advanced the slot: the changes that were not printed cannot be read again. "
        "\"pgweir logical peek\" prints changes and keeps them.");
  }
  return kDone;
}

}  // namespace

int logical_command(const Arguments& arguments) {
  auto request = read_logical(arguments);
  switch (request.verb) {
    case Verb::stream:
      return stream_command(request);
    case Verb::create:
      return create(request);
    case Verb::drop:
      return drop(request);
    case Verb::peek:
    case Verb::get:
      return preview(request);
  }
  return kUnexpected;
}

}  // namespace weir::cli
