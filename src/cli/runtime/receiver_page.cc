#include "cli/runtime/receiver_page.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/runtime/serve_listeners.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/bounded_look.h"
#include "cli/shared/stored_archive.h"
#include "io/posix_directory.h"
#include "metrics/exporter.h"
#include "net/ip.h"
#include "prune/find_backups.h"
#include "prune/stored_backups.h"
#include "status/check.h"
#include "store/open_store.h"
#include "web/health.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kEvery = 10min;
constexpr auto kAfterAnError = 1min;
constexpr auto kAnswerWithin = 5s;

/// The base backups in a store, for a page that asks often: the store is asked every ten minutes,
/// and a minute after an error. Used by one thread.
class StoredBackups {
 public:
  explicit StoredBackups(store::StoreOptions options) : options_(std::move(options)) {
    options_.answer_within = kAnswerWithin;
  }

  /// As of the last successful request. Takes a few seconds if the store does not answer.
  [[nodiscard]] const std::vector<prune::FoundBackup>& found();
  /// The last request failed: why.
  [[nodiscard]] const std::optional<std::string>& error() const { return error_; }

 private:
  store::StoreOptions options_;
  std::optional<std::chrono::steady_clock::time_point> next_;
  std::vector<prune::FoundBackup> found_;
  std::optional<std::string> error_;
};

const std::vector<prune::FoundBackup>& StoredBackups::found() {
  if (next_ && Clock::now() < *next_) return found_;
  try {
    // A connection would not be kept open for that long.
    StoredArchive stored(options_, nullptr);
    const auto identity = stored.told_identity();
    found_ =
        prune::find_stored_backups(stored.opened().store(), stored.opened().layout(),
                                   identity ? std::optional(identity->segment_size) : std::nullopt,
                                   stored.jobs(), stored.patience());
    error_.reset();
  } catch (const Error& error) {
    error_ = error.what();
  }
  next_ = Clock::now() + (error_ ? kAfterAnError : kEvery);
  return found_;
}

/// On the watch's own thread, which may outlive the page: it has nothing but copies.
web::Watch<web::Look>::Hooks hooks_of(const WebRequest& request, const std::string& directory,
                                      const std::optional<store::StoreOptions>& store,
                                      const std::shared_ptr<std::atomic<bool>>& among_backups,
                                      std::function<void(bool)> keep) {
  return {.look =
              [directory, among_backups, places = request.backups,
               sizes = std::make_shared<prune::BackupSizes>(),
               stored = store ? std::make_shared<StoredBackups>(*store) : nullptr] {
                // Before the directory, as another process does: a break counts only while no WAL
                // streams.
                status::StatusReport asked;
                ask_receiver(asked, directory);
                auto look = web::look_at(
                    directory, places, *sizes,
                    [&] { return stored ? stored->found() : std::vector<prune::FoundBackup>(); },
                    [&](bool among) { *among_backups = among; });
                if (stored && stored->error()) look.report.backups_error = stored->error();
                ask_relays(look.report, directory);
                take_receiver(look.report, asked);
                status::look_for_break(look.report, *io::open_existing_directory(directory));
                take_receiver(look.report, {});  // facts() has a newer answer
                return look;
              },
          .each_time = std::move(keep)};
}

}  // namespace

ReceiverPage::ReceiverPage(const WebRequest& request, const std::string& directory,
                           const std::optional<store::StoreOptions>& store, receive::Feed& feed,
                           const receive::StatusBoard& board, PageMetrics metrics, Log& log)
    : request_(request),
      log_(log),
      board_(board),
      directory_(directory),
      recorder_(feed, board, directory),
      watch_(hooks_of(request, directory, store, among_backups_, recorder_.keeper())),
      losses_(feed.listen([this](const receive::event::LossRecorded&) { watch_.look_now(); })),
      site_(gate_of(request), sources(request, std::move(metrics)), log),
      server_(serve_site(*request.listen,
                         [this](const http::Request& asked) { return site_.answer(asked); })) {
  log.info("page at http://{}/", host_and_port(*request.listen));
}

web::Site::Sources ReceiverPage::sources(const WebRequest& request, PageMetrics metrics) {
  web::Site::Sources sources;
  sources.facts = [this] { return facts(); };
  sources.health = [this] { return web::health(board_.view(), recorder_.since_progress()); };
  auto limits = request.limits;
  if (request.ready_max_lag) limits.max_lag = request.ready_max_lag;
  sources.readiness = [this, limits] {
    const auto seen = watch_.peek();
    return web::readiness(board_.view(), limits, seen.look ? &seen.look->report : nullptr,
                          seen.stuck_since && !*among_backups_);
  };
  add_metrics(sources, std::move(metrics));
  return sources;
}

void add_metrics(web::Site::Sources& sources, PageMetrics metrics) {
  sources.metrics_are_open = metrics.open;
  if (metrics.collect)
    sources.metrics = [collect = std::move(metrics.collect)] {
      return metrics::to_answer(collect);
    };
}

bool take_page_port(MetricsOptions& metrics, const WebRequest& request) {
  if (!request.listen || metrics.listen != host_and_port(*request.listen)) return false;
  metrics.listen.reset();
  return true;
}

std::optional<web::Facts> ReceiverPage::facts() {
  const auto seen = watch_.latest();
  if (!seen.look && seen.error.empty() && !seen.stuck_since) return std::nullopt;
  auto facts = web::facts_of(seen.look.get(), directory_, std::chrono::system_clock::now(),
                             seen.stuck_since);
  if (!seen.error.empty()) facts.report.damaged.push_back(seen.error);
  facts.report.receiver = board_.view();
  facts.history = recorder_.history();
  facts.report.taken = facts.now;
  if (seen.look)
    facts.report.full_in = web::full_in(*facts.history, facts.report.free_bytes, facts.now);
  // A directory that was never read exceeds no limit.
  facts.verdict = status::check(facts.report, seen.look ? request_.limits : status::Limits());
  return facts;
}

std::unique_ptr<http::Server> serve_site(const ListenAddress& address,
                                         http::Server::Handler handler) {
  auto listener = bind_tcp(address);
  return std::make_unique<http::Server>(std::move(listener), std::move(handler));
}

void ReceiverPage::reload() {
  read_anew(
      request_,
      [this](const WebRequest& request) {
        site_.set_gate(reread([request] { return gate_of(request); }));
      },
      log_);
}

void read_anew(const WebRequest& request, const std::function<void(const WebRequest&)>& use,
               Log& log) {
  if (!request.token_file) return;
  try {
    use(request);
    log.info("reloaded the token file {}", *request.token_file);
  } catch (const Error& error) {
    log.error(error);
    log.warning("the previous token stays in effect");
  }
}

web::Gate gate_of(const WebRequest& request) {
  auto names = request.names;
  names.push_back(net::host_name());
  return {read_token(request), std::move(names), fmt::format("pgweir-{}", request.listen->port)};
}

}  // namespace weir::cli
