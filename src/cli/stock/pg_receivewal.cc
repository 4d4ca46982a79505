// In place of pg_receivewal (`cli/stock/pg_receivewal.cc`), the same engine runs with other
// `receive::Habits` (`Options::stock_habits`): when to retry, what counts as the end, one segment
// after the other (the original takes the newest partial segment as the end, so there must never be
// two), and the form of the partial segment at a stop. The current segment is raw nevertheless
// (P1). `compress_partial()` converts it to the original's form, at the highest level: the original
// overwrites such a file without truncating it, and must not leave the end of pgweir's file after
// its own.

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <memory>
#include <random>

#include "base/exit_status.h"
#include "cli/help.h"
#include "cli/options/connection_options.h"
#include "cli/runtime/memory.h"
#include "cli/stock/pg_receivewal_options.h"
#include "cli/stock/stand_ins.h"
#include "cli/stock/stock_options.h"
#include "daemon/logger.h"
#include "daemon/long_run.h"
#include "daemon/signals.h"
#include "io/posix_directory.h"
#include "io/unsynced_directory.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "receive/session.h"
#include "receive/status_socket.h"
#include "status/view_json.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

/// The library's messages are shown if more output is requested than pg_receivewal would print.
/// Messages that are written without asking enabled() are always shown.
class LibraryLog final : public Log {
 public:
  LibraryLog(Log& log, int verbose)
      : log_(log),
        least_(verbose > 2   ? LogLevel::debug
               : verbose > 1 ? LogLevel::info
                             : LogLevel::warning) {}
  void write(LogLevel level, std::string_view message) override { log_.write(level, message); }
  void write_error(const Error& error) override { log_.write_error(error); }
  [[nodiscard]] bool enabled(LogLevel level) const override { return level >= least_; }

 private:
  Log& log_;
  const LogLevel least_;
};

receive::Options options_of(const PgReceivewalRequest& request) {
  receive::Options options;
  options.stock_habits = true;
  options.on_uncompared = receive::OnUncompared::go_on;  // there is no option for this
  options.directory = request.directory;
  options.conninfo = request.conninfo;
  options.slot = request.slot;
  options.endpos = request.endpos;
  options.endpos_inclusive = true;
  options.loop = request.loop;
  options.flush.mode = request.synchronous ? receive::FlushPolicy::Mode::continuous
                                           : receive::FlushPolicy::Mode::segment;
  options.apply = receive::ApplyPosition::none;
  // A receiver that reports a flush position may become the synchronous standby that commits wait
  // for.
  options.report_flush = options.slot || request.synchronous;
  options.compression = request.compression;
  options.status_interval = std::chrono::seconds(request.status_interval);
  options.fallback_application_name = kPgReceivewal;
  return options;
}

/// The verbose lines, and the unconditional ones, with pg_receivewal's wording. The log must
/// outlive it.
receive::Feed::Listener verbose_lines(Log& log, bool verbose) {
  namespace event = receive::event;
  auto switched = std::make_shared<std::atomic<bool>>(false);
  return [&log, verbose, switched](const receive::Event& happened) {
    receive::on(happened, [&](const event::LeftUnfinished& left) {
      log.info("not renaming \"{}\", segment is not complete", left.file);
    });
    if (!verbose) return;
    receive::on(
        happened,
        [&](const event::Streaming& streaming) {
          if (!switched->exchange(false))
            log.info("starting log streaming at {} (timeline {})", streaming.start,
                     streaming.timeline);
        },
        [&](const event::SegmentFinished& finished) {
          log.info("finished segment at {} (timeline {})", finished.end,
                   finished.segment.timeline());
        },
        [&](const event::TimelineSwitched& to) {
          log.info("switched to timeline {} at {}", to.next, to.switchpoint);
          *switched = true;
        },
        [&](const event::Stopped& stopped) {
          if (stopped.by_signal)
            log.info("received interrupt signal, exiting");
          else
            log.info("stopped log streaming at {} (timeline {})", stopped.reached,
                     stopped.timeline);
        });
  };
}

/// Reported as by pg_receivewal: the path first, then the system's reason.
std::unique_ptr<io::Directory> open_directory(const std::string& path) {
  try {
    return io::open_directory(path);
  } catch (const Error& error) {
    const auto& message = error.message();
    const auto colon = message.find(": ");
    throw Error(error.kind(), fmt::format("could not open directory \"{}\"{}", path,
                                          colon == std::string::npos ? "" : message.substr(colon)));
  }
}

bool of_the_connection(const Error& error) {
  const auto kind = error.kind();
  return kind == ErrorKind::retry || kind == ErrorKind::refused || kind == ErrorKind::gap ||
         (kind == ErrorKind::conflict && !error.stock_text().empty());
}

int receive_wal(const PgReceivewalRequest& request, daemon::Logger& logger, net::Wake& stop) {
  Log& log = logger;
  receive::Feed feed;
  receive::StatusBoard board(&feed);
  const auto listening = feed.subscribe(verbose_lines(log, request.verbose > 0));
  try {
    const auto options = options_of(request);
    const auto on_disk = open_directory(request.directory);
    const auto directory = request.sync ? nullptr : io::without_syncs(*on_disk);
    LibraryLog library_log(log, request.verbose);
    const receive::Environment environment{
        .directory = directory ? *directory : *on_disk,
        .stop = stop,
        .log = library_log,
        .feed = feed,
        .board = board,
        .seed = std::random_device()(),
        .durability_lost =
            [&](const Error& error) {
              logger.last_words(error, 500ms);
              ::_exit(kStockFailed);
            },
        .archive_taken =
            [&] {
              return std::make_shared<receive::StatusSocket>(
                  on_disk->path(), [&board] { return status::to_json(board.view()); }, library_log);
            }};
    receive::receive(options, environment);
    return kStockDone;
  } catch (const net::Interrupted&) {
    return kStockDone;  // stopped before anything was started
  } catch (const Error& error) {
    log.error(error);
    // Set since the connection was established.
    if (of_the_connection(error) && !board.read().server.empty()) log.error("disconnected");
    return kStockFailed;
  } catch (const std::exception& error) {
    log.error(unexpected(error));
    return kStockFailed;
  }
}

int change_slot(const PgReceivewalRequest& request, Log& log, net::Wake& stop) {
  const bool create = request.action == PgReceivewalRequest::Action::create_slot;
  const net::Wake never;
  try {
    auto connection = pq::Connection::open(
        {.conninfo = request.conninfo, .fallback_application_name = std::string(kPgReceivewal)},
        stop);
    static_cast<void>(pq::identify_system(connection));
    if (request.verbose > 0)
      log.info("{} replication slot \"{}\"", create ? "creating" : "dropping", *request.slot);
    // A signal must not hide the result: the slot may exist by now. The original waits, too.
    connection.interrupted_by(never);
    if (create)
      pq::create_physical_slot(connection, *request.slot, false, false, request.if_not_exists);
    else
      pq::drop_slot(connection, *request.slot);
    return kStockDone;
  } catch (const net::Interrupted&) {
    return kStockFailed;
  } catch (const Error& error) {
    log.error(error);
    return kStockFailed;
  }
}

int perform(PgReceivewalRequest& request) {
  ask_stock_password(request.conninfo, request.password, pq::Replication::physical);
  use_one_arena();
  daemon::LongRun long_run({.level = LogLevel::debug, .program = std::string(kPgReceivewal)});
  auto& log = long_run.log();
  net::Wake stop;
  daemon::Signals::Handlers handlers;
  handlers.stop = [&] { stop.raise(); };
  handlers.patient = true;  // Under a supervisor, Ctrl-C arrives twice: from the terminal and from
                            // the supervisor
  const auto perform_action = [&] {
    const auto handling = long_run.handle(std::move(handlers));
    return request.action == PgReceivewalRequest::Action::receive ? receive_wal(request, log, stop)
                                                                  : change_slot(request, log, stop);
  };
  return long_run.end(perform_action());
}

}  // namespace

int pg_receivewal(int count, char** words) {
  return run_stock_program(kPgReceivewal, [&] {
    auto request = parse_pg_receivewal(count, words);
    switch (request.action) {
      case PgReceivewalRequest::Action::help:
        print(pg_receivewal_help());
        return kStockDone;
      case PgReceivewalRequest::Action::version:
        print(pg_receivewal_version());
        return kStockDone;
      default:
        return perform(request);
    }
  });
}

}  // namespace weir::cli
