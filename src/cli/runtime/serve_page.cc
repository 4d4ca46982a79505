#include "cli/runtime/serve_page.h"

#include <fmt/format.h>

#include <utility>

#include "cli/shared/ask_archive.h"
#include "cli/shared/bounded_look.h"
#include "io/posix_directory.h"
#include "status/check.h"
#include "web/entrance.h"
#include "web/health.h"
#include "web/recorder.h"

namespace weir::cli {

namespace {

/// On the watch's own thread, which may outlive the page: it has nothing but copies.
web::Watch<web::Look>::Hooks serve_hooks(const std::string& directory,
                                         const std::vector<std::string>& places,
                                         const std::shared_ptr<std::atomic<bool>>& among_backups) {
  return {.look = [directory, places, among_backups,
                   sizes = std::make_shared<prune::BackupSizes>()] {
    // The receiver before the directory: what it says is then older than what is listed.
    status::StatusReport asked;
    ask_receiver(asked, directory);
    auto look =
        web::look_at(directory, places, *sizes, {}, [&](bool among) { *among_backups = among; });
    ask_relays(look.report, directory);
    take_receiver(look.report, asked);
    status::look_for_break(look.report, *io::open_existing_directory(directory));
    look.history = web::read_history(directory);
    if (look.history)
      look.report.full_in = web::full_in(*look.history, look.report.free_bytes, look.report.taken);
    return look;
  }};
}

}  // namespace

ServePage::ServePage(const WebRequest& request, const std::string& directory,
                     std::function<archive::Relay()> view, PageMetrics metrics, Log& log)
    : request_(request),
      log_(log),
      directory_(directory),
      view_(std::move(view)),
      watch_(serve_hooks(directory, request.backups, among_backups_)),
      site_(gate_of(request), sources(std::move(metrics)), log),
      server_(serve_site(*request.listen,
                         [this](const http::Request& asked) { return site_.answer(asked); })) {
  log.info("page at http://{}/", host_and_port(*request.listen));
}

web::Site::Sources ServePage::sources(PageMetrics metrics) {
  web::Site::Sources sources;
  sources.facts = [this] { return serve_facts(watch_.latest(), directory_, request_.limits); };
  sources.health = [] { return http::Answer{.body = "ok\n"}; };
  sources.readiness = [this] {
    return relay_readiness(view_(), watch_.peek().stuck_since && !*among_backups_);
  };
  add_metrics(sources, std::move(metrics));
  return sources;
}

std::optional<web::Facts> serve_facts(const web::Watch<web::Look>::Seen& seen,
                                      const std::string& directory, const status::Limits& limits) {
  if (!seen.look && seen.error.empty() && !seen.stuck_since) return std::nullopt;
  auto facts =
      web::facts_of(seen.look.get(), directory, std::chrono::system_clock::now(), seen.stuck_since);
  if (!seen.error.empty()) facts.report.damaged.push_back(seen.error);
  facts.report.taken = facts.now;
  // A directory that was never read exceeds no limit.
  facts.verdict = status::check(facts.report, seen.look ? limits : status::Limits());
  return facts;
}

http::Answer relay_readiness(const archive::Relay& relay, bool directory_hangs) {
  const auto& end = relay.serving.end;
  if (relay.serving.problem)
    return {.status = 503, .body = "no newer WAL is served: the log has the reason\n"};
  if (directory_hangs) return {.status = 503, .body = std::string(web::kDirectoryHangs) + "\n"};
  if (!end) return {.status = 503, .body = "there is no WAL to serve yet\n"};
  return {.body = fmt::format("ok, serving timeline {} up to {}\n", end->timeline, end->flush)};
}

void ServePage::reload() {
  read_anew(
      request_,
      [this](const WebRequest& request) {
        site_.set_gate(reread([request] { return gate_of(request); }));
      },
      log_);
}

}  // namespace weir::cli
