#include "cli/runtime/fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "cli/runtime/receiver_page.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/bounded_look.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "status/report.h"
#include "store/http/curl_transport.h"
#include "web/html.h"
#include "web/page.h"
#include "web/recorder.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Only reading a directory takes a rest (Local).
constexpr web::Pace kPace{.watched = 3s, .unwatched = 10s, .rest = 0};
/// A query is aborted within a second (Fleet::End). The time is for a host that is busy.
constexpr web::Pace kRemotePace{.watched = 3s, .unwatched = 10s, .rest = 0, .at_end = 10s};
/// For reading the directory, which takes longer than querying the receiver.
constexpr auto kLookEvery = 60s;
constexpr auto kLookEveryWatched = 3s;
constexpr auto kStaysWatched = 30s;
constexpr std::size_t kLargestAnswer = std::size_t{8} << 20;
constexpr std::string_view kPrefix = "/archive/";

/// Empty: the system's. Certificates are read at each connection; a mistake in the name is reported
/// at the start.
void require_ca(const std::string& path) {
  if (path.empty()) return;
  const auto file = io::look_at_access(path);
  if (!file || !file->readable)
    throw Error(ErrorKind::usage, "the file of CA certificates cannot be read").with("path", path);
}

/// No receiver has to run on an archive at rest.
status::Limits limits_for(const web::FleetMember& member, status::Limits limits) {
  limits.at_rest = member.at_rest;
  return limits;
}

WebRequest token_request(const web::FleetMember& member) {
  WebRequest request;
  request.token_file = member.token_file;
  return request;
}

}  // namespace

/// On this host: queries its receiver by the status socket, and reads its directory now and then.
/// Used by one thread, except for watched().
class FleetArchive::Local {
 public:
  Local(web::FleetMember member, const status::Limits& limits)
      : member_(std::move(member)), limits_(limits) {}

  /// Its own page is being viewed.
  void watch() { watched_ = Clock::now(); }

  Known look() {
    Known known;
    try {
      status::StatusReport asked;
      ask_receiver(asked, *member_.directory);
      const auto now = Clock::now();
      const auto every = watched_.load() + kStaysWatched > now ? Clock::duration(kLookEveryWatched)
                                                               : Clock::duration(kLookEvery);
      // A loss that was recorded or acknowledged is shown at once.
      const auto& known_to = look_.report.receiver;
      const bool news = known_to && asked.receiver && known_to->losses != asked.receiver->losses;
      if (!looked_ || news || now - *looked_ >= web::rest_after(took_, every)) {
        look_ = web::look_at(*member_.directory, member_.backups, sizes_);
        look_.history = web::read_history(*member_.directory);
        if (look_.history)
          look_.report.full_in =
              web::full_in(*look_.history, look_.report.free_bytes, look_.report.taken);
        ask_relays(look_.report, *member_.directory);
        take_receiver(look_.report, asked);
        status::look_for_break(look_.report, *io::open_existing_directory(*member_.directory));
        looked_ = Clock::now();
        took_ = *looked_ - now;
      }
      known.look = look_;
      take_receiver(known.look.report, asked);
      known.state = web::state_of_report(known.look.report, member_.at_rest, limits_);
      if (known.state.cluster_name.empty() && look_.history)
        known.state.cluster_name = look_.history->cluster_name();
    } catch (const std::exception& failure) {
      known.state = web::state_of_error(failure.what(), web::Silence::unreadable);
      known.look.report.directory = *member_.directory;
      known.look.report.damaged.emplace_back(failure.what());
      known.look.at = std::chrono::system_clock::now();
    }
    known.at = std::chrono::system_clock::now();
    known.since = since_.of(known.state, known.at);
    return known;
  }

 private:
  const web::FleetMember member_;
  const status::Limits limits_;
  std::atomic<Clock::time_point> watched_ = Clock::now() - 1h;
  std::optional<Clock::time_point> looked_;  ///< the end of the last read
  Clock::duration took_{};
  web::Look look_;
  prune::BackupSizes sizes_;
  web::FleetSince since_;
};

/// On another host: the data of its page. Used by one thread, except for use().
class FleetArchive::Remote {
 public:
  Remote(web::FleetMember member, std::shared_ptr<store::Transport> transport,
         std::optional<std::string> token)
      : member_(std::move(member)), transport_(std::move(transport)), token_(std::move(token)) {}

  /// The token that is sent from now on.
  void use(std::optional<std::string> token) {
    const std::lock_guard lock(mutex_);
    token_ = std::move(token);
  }

  Known look() {
    Known known;
    try {
      known.state = ask();
    } catch (const store::NoAnswer& failure) {
      known.state =
          web::state_of_error(failure.what(), failure.why() == store::NoAnswer::Why::not_believed
                                                  ? web::Silence::certificate
                                                  : web::Silence::unreachable);
    } catch (const std::exception& failure) {
      known.state = web::state_of_error(failure.what(), web::Silence::unreachable);
    }
    known.at = std::chrono::system_clock::now();
    known.since = since_.of(known.state, known.at);
    return known;
  }

 private:
  std::optional<std::string> token_now() const {
    const std::lock_guard lock(mutex_);
    return token_;
  }

  web::FleetState ask() {
    std::string body;
    store::Request request{.method = "GET", .url = *member_.url + "/status.json"};
    if (const auto token = token_now())
      request.headers.push_back({"Authorization", "Bearer " + *token});
    request.sink = [&body](std::span<const std::byte> piece) {
      body.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      return body.size() <= kLargestAnswer;
    };
    const auto answer = transport_->perform(request);
    if (answer.status == 401)
      return web::state_of_error("it rejects the token of token-file", web::Silence::token);
    if (answer.status != 200)
      return web::state_of_error(fmt::format("it answers with HTTP {}", answer.status),
                                 web::Silence::other_answer);
    return web::state_of_json(body, member_.at_rest);
  }

  const web::FleetMember member_;
  const std::shared_ptr<store::Transport> transport_;
  mutable std::mutex mutex_;
  std::optional<std::string> token_;  ///< guarded by mutex_
  web::FleetSince since_;
};

FleetArchive::FleetArchive(web::FleetMember member, std::shared_ptr<store::Transport> transport,
                           const status::Limits& limits)
    : member_(std::move(member)),
      limits_(limits_for(member_, limits)),
      local_(member_.directory ? std::make_shared<Local>(member_, limits_) : nullptr),
      remote_(local_ ? nullptr
                     : std::make_shared<Remote>(member_, std::move(transport),
                                                read_token(token_request(member_)))),
      watch_(hooks()),
      site_(web::Site::Sources{.facts = [this] { return facts(); }}) {}

web::Watch<FleetArchive::Known>::Hooks FleetArchive::hooks() const {
  // On the watch's own thread, which may outlive this: it has nothing but what is its own.
  if (local_) return {.look = [local = local_] { return local->look(); }, .pace = kPace};
  return {.look = [remote = remote_] { return remote->look(); }, .pace = kRemotePace};
}

void FleetArchive::reload(Log& log) {
  if (remote_)
    read_anew(
        token_request(member_),
        [this](const WebRequest& request) {
          remote_->use(reread([request] { return read_token(request); }));
        },
        log);
}

web::FleetRow FleetArchive::row() const {
  const auto seen = watch_.peek();
  web::FleetRow row{
      .name = member_.name,
      .where = member_.url ? *member_.url : *member_.directory,
      .link = member_.url ? *member_.url + "/" : fmt::format("archive/{}/", member_.name),
      .since = std::chrono::system_clock::now()};
  if (seen.look) {
    row.state = seen.look->state;
    row.since = seen.look->since.at;
    row.since_is_known = seen.look->since.known;
    row.answered = seen.look->at;
  }
  if (seen.stuck_since) {
    row.state = web::state_of_error("the check of the directory has not returned: it hangs",
                                    web::Silence::hanging);
    row.since = *seen.stuck_since;
    row.since_is_known = true;
    row.answered.reset();
  }
  return row;
}

std::optional<web::Facts> FleetArchive::facts() {
  local_->watch();
  const auto seen = watch_.latest();
  if (!seen.look && !seen.stuck_since) return std::nullopt;
  auto facts = web::facts_of(seen.look ? &seen.look->look : nullptr, *member_.directory,
                             std::chrono::system_clock::now(), seen.stuck_since);
  if (seen.look) facts.report.taken = facts.now;
  facts.verdict = status::check(facts.report, seen.look ? limits_ : status::Limits());
  return facts;
}

http::Server::Reply FleetArchive::answer(const http::Request& request) {
  if (local_) return site_.answer(request);
  auto answer = web::plain_answer(303, "it has a page of its own");
  answer.headers.emplace_back("Location", *member_.url + "/");
  return answer;
}

Fleet::Fleet(std::vector<web::FleetMember> members, web::Gate gate, const status::Limits& limits,
             const std::optional<std::string>& ca, Log& log)
    : entrance_(std::move(gate), log) {
  std::map<std::string, std::shared_ptr<store::Transport>> transports;  // by file of certificates
  for (auto& member : members) {
    std::shared_ptr<store::Transport> transport;
    if (member.url) {
      const auto file = member.ca ? *member.ca : ca.value_or("");
      auto& shared = transports[file];
      if (!shared) {
        require_ca(file);
        shared = std::make_shared<store::CurlTransport>(store::CurlTransport::Settings{
            .ca_file = file, .connect = 5s, .silent = 10s, .total = 20s, .stop = end_.is_over()});
      }
      transport = shared;
    }
    archives_.push_back(
        std::make_unique<FleetArchive>(std::move(member), std::move(transport), limits));
  }
}

void Fleet::reload(const WebRequest& request, Log& log) {
  read_anew(
      request,
      [this](const WebRequest& own) { entrance_.set(reread([own] { return gate_of(own); })); },
      log);
  for (const auto& archive : archives_) archive->reload(log);
}

http::Server::Reply Fleet::answer(const http::Request& request) {
  if (web::only_reads(request) && request.path == "/healthz")
    return web::probe_answer({.body = "ok\n"});
  auto answer = entrance_.answer(request);
  if (!answer && request.path.starts_with(kPrefix)) {
    const auto end = request.path.find('/', kPrefix.size());
    const auto name = request.path.substr(kPrefix.size(), end - kPrefix.size());
    const auto found = std::find_if(archives_.begin(), archives_.end(),
                                    [&](const auto& each) { return each->name() == name; });
    if (found != archives_.end() && end != std::string::npos) {
      auto inner = request;
      inner.path = request.path.substr(end);
      return (*found)->answer(inner);
    }
  }
  if (!answer) answer = web::asset(request.path);
  if (!answer && (request.path == "/" || request.path == "/main")) answer = table(request);
  if (!answer) answer = web::plain_answer(404, "the directory does not exist");
  web::shrink(request, *answer);
  web::add_safety(*answer);
  return std::move(*answer);
}

http::Answer Fleet::table(const http::Request& request) {
  std::vector<web::FleetRow> rows;
  for (const auto& archive : archives_) rows.push_back(archive->row());
  const auto title = web::fleet_title(rows) + " · pgweir";
  const auto main = web::units_kept_together(
      web::fleet_html(std::move(rows), std::chrono::system_clock::now(), PGWEIR_VERSION));
  if (request.path == "/main")
    return web::part_answer(request, main, title, std::chrono::system_clock::now());
  http::Answer answer{.type = web::kHtml, .body = web::live_html(title, main, web::kFilter)};
  if (entrance_.asks_for_token()) web::add_log_out(answer.body);
  return answer;
}

}  // namespace weir::cli
