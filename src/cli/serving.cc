#include "cli/serving.h"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "crypto/primitives.h"
#include "io/small_file.h"
#include "net/ip.h"
#include "net/wait.h"
#include "relay/archive_end.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kLargestFile = 1 << 20;
constexpr std::string_view kUsualPort = "5432";
/// How often an archive is looked at that has no WAL yet.
constexpr auto kLook = 1s;

/// Throws Error{usage} for a file that is wrong, or that cannot be read.
std::shared_ptr<const relay::Access> read_access(const ServeRequest& request) {
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

std::vector<net::Listener> bind_listeners(const ServeRequest& request) {
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

}  // namespace

Serving::Serving(ServeRequest request, io::Directory& archive, archive::AskDurableEnd ask, Log& log,
                 Listeners listeners)
    : request_(std::move(request)),
      archive_(archive),
      ask_(std::move(ask)),
      log_(log),
      listening_(std::move(listeners)),
      clients_(
          request_.waiting, [this](const relay::Feedback& feedback) { on_feedback(feedback); },
          listening_.comes_or_goes) {
  access_.set(read_access(request_));
  crypto::load();
  listeners_ = bind_listeners(request_);
  tell_who_may_come();
}

/// What clients have flushed goes to the hub for as long as there is one.
class Serving::HubNow {
 public:
  HubNow(Serving& serving, relay::Hub& hub) : serving_(serving) { set(&hub); }
  ~HubNow() { set(nullptr); }
  HubNow(const HubNow&) = delete;
  HubNow& operator=(const HubNow&) = delete;

 private:
  void set(relay::Hub* hub) {
    const std::lock_guard lock(serving_.hub_mutex_);
    serving_.hub_ = hub;
    if (hub != nullptr) hub->set_version(serving_.version_);
  }
  Serving& serving_;
};

void Serving::run(const net::Wake& stop, const Tell& tell) {
  const auto found = wait_for_wal(stop, tell);
  if (!found) return;
  const bool receives = ask_().has_value();
  relay::Hub hub(*found, clients_.holds());
  const HubNow hub_now(*this, hub);
  relay::Slots slots(archive_, *cluster_, request_.slots, hub, log_,
                     [this](const std::optional<relay::Xmins>& held) { clients_.set_slots(held); });
  relay::Server server(archive_, *cluster_, hub, slots, clients_, access_, request_.server, log_);
  const relay::ArchiveWatch watch(archive_, cluster_->segment_size, ask_, news_, hub, log_);
  tell(fmt::format(
      "serving system {} (PostgreSQL {}), timeline {} up to {}{}", cluster_->system_identifier,
      cluster_->major, found->timeline(), found->end,
      receives
          ? ", and what its receiver makes durable"
          : "; until a receiver tells of more, new WAL is served once its segment is finished"));
  for (const auto& listener : listeners_)
    log_.info("listening on {}", listener.address().to_string());
  server.run(listeners_, stop);
}

void Serving::on_feedback(const relay::Feedback& feedback) {
  {
    const std::lock_guard lock(hub_mutex_);
    if (hub_ != nullptr) hub_->on_flushed_downstream(feedback.timeline, feedback.flushed);
  }
  if (listening_.feedback) listening_.feedback(feedback);
}

void Serving::hear_version(const std::string& version) {
  const std::lock_guard lock(hub_mutex_);
  version_ = version;
  if (hub_ != nullptr) hub_->set_version(version);
}

void Serving::reload() {
  try {
    access_.set(read_access(request_));
    log_.info("rules and users are read anew");
  } catch (const Error& error) {
    log_.error(error);
    log_.warning("the rules and users as they were stay in force");
  }
}

/// nullopt: it was stopped before there was any. Until then nobody can connect, and whoever wants
/// to tries again by itself.
std::optional<relay::Served> Serving::wait_for_wal(const net::Wake& stop, const Tell& tell) {
  for (bool told = false;; told = true) {
    news_.clear();
    cluster_ = relay::find_cluster(archive_);
    if (cluster_)
      if (auto found = relay::find_served(archive_, cluster_->segment_size)) return found;
    if (!told) tell("the archive has no WAL yet; it is served once there is some");
    try {
      net::wait_for_socket(news_.fd(), true, false, &stop,
                           std::chrono::steady_clock::now() + kLook);
    } catch (const net::Interrupted&) {
      return std::nullopt;
    }
  }
}

void Serving::tell_who_may_come() const {
  constexpr unsigned kOthersMayRead = 04;
  if (const auto file = request_.users ? io::look_at_access(*request_.users) : std::nullopt;
      file && (file->mode & kOthersMayRead) != 0)
    log_.warning("everybody on this machine can read the users file {}: chmod 640",
                 *request_.users);
  if (request_.hba) return;
  if (access_.get()->users.size() == 0)
    log_.warning(
        "nobody can connect: there is no user with a password (--serve-users), and no rules file "
        "(--serve-hba) that lets anybody in without");
  else
    log_.info("without --serve-hba clients of this machine alone can connect, with a password");
}

}  // namespace weir::cli
