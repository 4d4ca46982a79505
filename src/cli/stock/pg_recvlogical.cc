#include <fmt/format.h>

#include <exception>
#include <random>

#include "cli/help.h"
#include "cli/options/connection_options.h"
#include "cli/stock/pg_recvlogical_options.h"
#include "cli/stock/stand_ins.h"
#include "cli/stock/stock_options.h"
#include "daemon/long_run.h"
#include "daemon/signals.h"
#include "logical/session.h"
#include "net/wake.h"

namespace weir::cli {

namespace {

int change_slot(const PgRecvlogicalRequest& request, Log& log, const net::Wake& stop) {
  const net::Wake never;
  auto connection = pq::Connection::open({.conninfo = request.conninfo,
                                          .replication = request.replication,
                                          .fallback_application_name = std::string(kPgRecvlogical)},
                                         stop);
  if (request.drop) {
    if (request.verbose > 0) log.info("dropping replication slot \"{}\"", request.slot);
    connection.interrupted_by(never);  // a signal must not hide the result
    pq::drop_slot(connection, request.slot);
    return kStockDone;
  }
  if (request.verbose > 0) log.info("creating replication slot \"{}\"", request.slot);
  pq::create_logical_slot(connection, request.slot, request.slot_options);
  return kStockDone;
}

int stream(const PgRecvlogicalRequest& request, Log& log, logical::Requests& requests) {
  logical::Options options;
  options.stock_habits = true;
  options.conninfo = request.conninfo;
  options.slot = request.slot;
  options.plugin_options = request.plugin_options;
  options.fallback_application_name = kPgRecvlogical;
  options.path = request.file;
  options.form = logical::Form::plugin;
  options.startpos = request.startpos;
  options.endpos = request.endpos;
  options.status_interval = std::chrono::seconds(request.status_interval);
  options.fsync_interval = std::chrono::seconds(request.fsync_interval);
  options.loop = request.loop;
  // On the stream's connection: there may be no walsender for a second one.
  if (request.create) options.create = request.slot_options;
  options.if_not_exists = request.if_not_exists;
  bool begun = false;
  logical::Environment environment{
      .requests = requests, .log = log, .seed = std::random_device()(), .begins = [&] {
        begun = true;
      }};
  if (request.verbose > 0)
    environment.verbose = [&](const std::string& text) { log.info("{}", text); };
  try {
    logical::stream(options, environment);
    return kStockDone;
  } catch (const Error& error) {
    log.error(error);
    if (!request.loop && begun && error.kind() != ErrorKind::durability) log.error("disconnected");
    return kStockFailed;
  }
}

int perform(PgRecvlogicalRequest& request) {
  ask_stock_password(request.conninfo, request.password, request.replication);
  daemon::LongRun long_run({.level = LogLevel::debug, .program = std::string(kPgRecvlogical)});
  Log& log = long_run.log();
  logical::Requests requests;
  daemon::Signals::Handlers handlers;
  handlers.stop = [&] { requests.stop(); };
  handlers.reload = [&] { requests.reopen(); };
  handlers.patient = true;
  int status = kStockDone;
  try {
    const auto handling = long_run.handle(std::move(handlers));
    status = request.start ? stream(request, log, requests)
                           : change_slot(request, log, requests.stop_wake());
  } catch (const net::Interrupted&) {
    // Before the first stream: the slot has not been created, or not dropped.
    status = request.create || request.drop ? kStockFailed : kStockDone;
  } catch (const Error& error) {
    log.error(error);
    status = kStockFailed;
  } catch (const std::exception& error) {
    log.error("unexpected failure: {}", error.what());
    status = kStockFailed;
  }
  return long_run.end(status);
}

}  // namespace

int pg_recvlogical(int count, char** words) {
  return run_stock_program(kPgRecvlogical, [&] {
    auto request = parse_pg_recvlogical(count, words);
    if (request.help) {
      print(pg_recvlogical_help());
      return kStockDone;
    }
    if (request.version) {
      print(pg_recvlogical_version());
      return kStockDone;
    }
    return perform(request);
  });
}

}  // namespace weir::cli
