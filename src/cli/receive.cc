#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <system_error>

#include "archive/last_word.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "cli/combinations.h"
#include "cli/config_file.h"
#include "cli/metrics/receiver_metrics.h"
#include "cli/options/connection_options.h"
#include "cli/options/receive_options.h"
#include "cli/runtime/downstream.h"
#include "cli/runtime/memory.h"
#include "cli/runtime/progress.h"
#include "cli/runtime/receiver_page.h"
#include "cli/shared/bounded_look.h"
#include "cli/shared/restore_setting.h"
#include "cli/shared/stored_archive.h"
#include "daemon/logger.h"
#include "daemon/long_run.h"
#include "daemon/screen.h"
#include "daemon/service_manager.h"
#include "daemon/signals.h"
#include "io/place.h"
#include "io/posix_directory.h"
#include "net/wake.h"
#include "receive/notifier.h"
#include "receive/session.h"
#include "receive/slow_sync_log.h"
#include "receive/status_socket.h"
#include "status/view_json.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

/// Interval at which the guardian reports that it is running, if /healthz shows it.
constexpr std::chrono::milliseconds kTurn = 10s;

/// The serving object, for SIGHUP: of another thread.
class ServingNow {
 public:
  void set(Downstream* downstream, ReceiverPage* page) {
    const std::lock_guard lock(mutex_);
    downstream_ = downstream;
    page_ = page;
  }
  void reload() {
    const std::lock_guard lock(mutex_);
    if (downstream_ != nullptr) downstream_->reload();
    if (page_ != nullptr) page_->reload();
  }

 private:
  std::mutex mutex_;
  Downstream* downstream_ = nullptr;
  ReceiverPage* page_ = nullptr;
};

/// WAL that is not durable yet is not sent.
void tell_lag(const receive::FlushPolicy& flush, Log& log) {
  using Mode = receive::FlushPolicy::Mode;
  if (flush.mode == Mode::interval)
    log.info(
        "with --flush {}, clients of the relay lag by up to that time, since they get only "
        "flushed WAL",
        format_duration(flush.interval));
  else if (flush.mode == Mode::segment)
    log.info(
        "with --flush segment, clients of the relay lag by up to a segment, since they get only "
        "flushed WAL");
}

/// In the archive, for `pgweir status`. A failure changes nothing: the log has the message as well.
void leave_last_word(io::Directory& directory, const Error& error, Log& log) noexcept {
  try {
    archive::leave_last_word(directory, {.time = format_time(std::chrono::system_clock::now()),
                                         .status = exit_status(error.kind()),
                                         .message = error.what(),
                                         .hint = error.hint()});
  } catch (const std::exception& trouble) {
    log.debug("could not record the reason for the receiver's exit: {}", trouble.what());
  }
}

/// The same after a failed fsync: a failing disk may hang as well, so it is limited to `time`.
/// `meanwhile` runs in any case. The process must exit immediately afterwards.
template <typename Work>
void leave_last_word_within(std::chrono::milliseconds time, io::Directory& directory,
                            const Error& error, Log& log, const Work& meanwhile) {
  std::future<void> done;
  try {
    done = begin_left_behind([&directory, &log, error] { leave_last_word(directory, error, log); });
  } catch (const std::system_error&) {
    // There is no thread for it: the log has the reason.
  }
  meanwhile();
  if (done.valid()) static_cast<void>(done.wait_for(time));
}

/// Clients that lag behind do not have to wait for an operator.
Error with_way_to_serve(const Error& error, const std::string& directory) {
  // After a failed sync the page cache may show what the disk does not have.
  if (error.kind() == ErrorKind::durability) return error;
  return Error(error).hint(fmt::format(
      "Clients are no longer served. Until the receiver runs again, \"pgweir serve -D {}\" can "
      "serve the WAL of the archive.",
      directory));
}

/// If an upload's compression differs from its file's, the whole segment is in memory. The same
/// applies to the check before a local file is removed.
std::uint64_t memory_of_uploads(const StoreRequest& request, const codec::Compression& files,
                                wal::SegmentSize size) {
  const auto& how = request.store.compression;
  if (!how || how->method == files.method) return 0;
  return (request.store.jobs + (request.keep_local ? 1 : 0)) *
         (size.bytes() + codec::compression_memory(*how, size.bytes()));
}

/// Bytes that the store (its buffers, encryption, TLS), the relay (a few clients) and the page may
/// need in addition to the receiver.
std::uint64_t memory_beside(const ReceiveRequest& request, wal::SegmentSize size) {
  constexpr std::uint64_t kMiB = 1024 * 1024;
  return (request.store
              ? 8 * kMiB + memory_of_uploads(*request.store, request.options.compression, size)
              : 0) +
         (request.serve.somewhere() ? 4 * kMiB : 0) + (request.web.listen ? 2 * kMiB : 0);
}

/// Or each start would end their alerts, and if the server cannot be reached, for long.
void show_recorded_losses(io::Directory& directory, receive::StatusBoard& board, Log& log) {
  try {
    board.set_losses(archive::read_losses(directory, archive::list_archive_names(directory)));
  } catch (const Error& error) {
    log.warning("could not determine which WAL the archive has lost: {}", error.what());
  }
}

/// Runs the session; its error is reported and becomes the status.
int run(const ReceiveRequest& request, daemon::Screen& screen, daemon::Logger& log, net::Wake& stop,
        daemon::ServiceManager& service, ServingNow& serving) {
  try {
    if (request.password_on_command_line) log.warning("{}", kPasswordOnCommandLine);
    if (!request.options.slot)
      log.warning(
          "no replication slot is used: the server may remove WAL before it is archived, also "
          "while no receiver runs; --slot NAME --create-slot retains it");
    if (request.store)
      for (const auto& each : request.store->warnings) log.warning("{}", each);
    wait_for_file_system(request.options.directory, log, stop);
    const auto directory = io::open_directory(request.options.directory);
    io::require_writable(request.options.directory);
    receive::Feed feed;
    receive::StatusBoard board(&feed);
    if (request.config_file)
      board.update(
          [path = absolute_path(*request.config_file)](auto& content) { content.config = path; });
    bool taken = false;  // the archive's lock is ours
    std::optional<receive::Notifier> notifier;
    if (request.notify) notifier.emplace(*request.notify, log);
    ProgressLine progress_line(screen, log);
    const receive::SlowSyncLog slow_syncs(feed, log);
    receive::Feed::Subscription notifying;
    if (notifier)
      notifying =
          feed.subscribe([&](const receive::Event& happened) { notifier->on_event(happened); });
    const auto listening = feed.listen([&](const receive::event::Progress& progress) {
      progress_line.tick(progress.snapshot, std::chrono::steady_clock::now());
    });
    receive::Environment environment{.directory = *directory,
                                     .stop = stop,
                                     .log = log,
                                     .feed = feed,
                                     .board = board,
                                     .seed = std::random_device()(),
                                     .durability_lost = {},
                                     .progress_interval = progress_line.interval()};
    receive::Downstream word;
    if (request.serve.somewhere()) environment.downstream = &word;
    receive::StoreWords store_word;
    environment.store = &store_word;
    environment.archive_taken = [&] {
      // There may be no space for that either (copy-on-write file systems): no reason to exit.
      try {
        archive::remove_last_word(*directory);
      } catch (const Error& error) {
        log.warning("the record of the last receiver's exit remains: {}", error.what());
      }
      taken = true;
      return std::make_shared<receive::StatusSocket>(
          directory->path(), [&board] { return status::to_json(board.view()); }, log);
    };
    if (const auto interval = service.heartbeat_interval())
      environment.progress_interval = std::min(environment.progress_interval, *interval);
    environment.memory_beside = [&request](wal::SegmentSize size) {
      return memory_beside(request, size);
    };
    environment.durability_lost = [&](const Error& error) {
      leave_last_word_within(500ms, *directory, error, log, [&] { log.last_words(error, 500ms); });
      ::_exit(kNeedsPerson);
    };
    struct StopAtTheEnd {  // board and feed do not exist after this
      daemon::ServiceManager& to;
      ~StopAtTheEnd() { to.stop(); }
    } const stop_at_the_end{service};
    show_recorded_losses(*directory, board, log);
    ReceiverMetrics figures(request.options.directory, board);
    // On the page's own port the page's server answers for the metrics, too.
    auto metrics = request.metrics;
    const bool one_port = take_page_port(metrics, request.web);
    const Reporter reporter(
        metrics, [&figures](bool up) { return figures.collect(up); }, log);
    std::optional<ReceiverPage> page;
    if (request.web.listen) {
      page.emplace(request.web, request.options.directory,
                   request.store ? std::optional(request.store->store) : std::nullopt, feed, board,
                   PageMetrics{[&figures] { return figures.collect(true); }, one_port}, log);
      environment.progress_interval = std::min(environment.progress_interval, kTurn);
    }
    std::optional<Downstream> downstream;
    if (request.serve.somewhere())
      downstream.emplace(request.serve, *directory, feed, board, word, log,
                         environment.durability_lost);
    struct Known {
      ServingNow& to;
      ~Known() { to.set(nullptr, nullptr); }
    } const known{serving};
    serving.set(downstream ? &*downstream : nullptr, page ? &*page : nullptr);
    if (downstream) tell_lag(request.options.flush, log);
    std::optional<StoreFeed> store;
    if (request.store) {
      forbid_core_files();
      store.emplace(*request.store, request.options.compression.method != codec::Method::none,
                    *directory, feed, board, store_word, log, environment.durability_lost);
    }
    std::optional<receive::CompareFeed> comparison;
    if (request.compare)
      comparison.emplace(*request.compare,
                         receive::CompareFeed::World{.servers = environment.servers,
                                                     .machine = environment.machine,
                                                     .feed = feed,
                                                     .board = board,
                                                     .log = log});
    service.start(board, feed);
    try {
      receive::receive(request.options, environment);
    } catch (const Error& error) {
      if (taken) leave_last_word(*directory, error, log);
      if (!downstream || exit_status(error.kind()) != kNeedsPerson) throw;
      downstream->receiver_has_ended(error);
      throw with_way_to_serve(error, request.options.directory);
    } catch (const std::exception& error) {
      if (taken) leave_last_word(*directory, unexpected(error), log);
      throw;
    }
    return kDone;
  } catch (const net::Interrupted&) {
    return kDone;  // stopped before anything was started
  } catch (const Error& error) {
    log.error(error);
    if (request.log_file) print_error(error);
    return exit_status(error.kind());
  } catch (const std::exception& error) {
    const Error told = unexpected(error);
    log.error(told);
    if (request.log_file) print_error(told);
    return exit_status(told.kind());
  }
}

/// SIGHUP: rereads the log level from the configuration file, the access rules and tokens, and
/// reopens the log file.
void reload(const ReceiveRequest& request, const Arguments& arguments, daemon::Logger& log,
            daemon::ServiceManager& service, ServingNow& serving) {
  service.reloading();
  log.reopen();
  serving.reload();
  try {
    if (request.config_file && !request.log_level_fixed) {
      log.set_level(reread([fresh = arguments.without_file()]() mutable {
        add_config(fresh);
        check_combinations(fresh);
        return read_receive(fresh).log_level;
      }));
    }
    log.info("SIGHUP: {}{}", request.log_file ? "log file reopened" : "no log file to open",
             !request.config_file      ? ""
             : request.log_level_fixed ? "; the log level is not set by the file"
                                       : "; log level reloaded");
  } catch (const Error& error) {
    log.error(error);
  }
  service.reloaded();
}

}  // namespace

int receive_command(const Arguments& arguments) {
  const auto request = read_receive(arguments);

  use_one_arena();
  daemon::LongRun long_run(
      {.level = request.log_level, .file = request.log_file, .format = request.log_format});
  auto& log = long_run.log();
  for (const auto& each : arguments.former_names()) log.info("{}", each);
  daemon::ServiceManager service(log);
  net::Wake stop;
  ServingNow serving;
  int status = kUnexpected;
  {
    daemon::Signals::Handlers handlers;
    handlers.stop = [&] {
      log.info("stopping; a second signal exits immediately");
      service.stopping();
      stop.raise();
    };
    handlers.reload = [&] { reload(request, arguments, log, service, serving); };
    const auto handling = long_run.handle(std::move(handlers));
    status = run(request, long_run.screen(), log, stop, service, serving);
  }
  return long_run.end(status);
}

}  // namespace weir::cli
