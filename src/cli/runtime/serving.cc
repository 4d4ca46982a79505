#include "cli/runtime/serving.h"

#include <fmt/format.h>

#include <chrono>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/units.h"
#include "cli/runtime/access_files.h"
#include "cli/runtime/serve_listeners.h"
#include "cli/shared/bounded_look.h"
#include "crypto/certificates.h"
#include "crypto/primitives.h"
#include "io/names_watch.h"
#include "io/small_file.h"
#include "net/wait.h"
#include "relay/archive_end.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

/// Interval of checks for an archive that has no WAL yet.
constexpr auto kLook = 1s;
/// The same for the files of certificates, rules and users.
constexpr auto kLookAtSecrets = 2s;

std::string state_of_secrets(const ServeRequest& request) {
  std::string state;
  const auto add = [&](const std::optional<std::string>& path) {
    if (path) state += io::state_of_file(*path) + ";";
  };
  add(request.users);
  if (!request.tls) return state;
  add(request.tls->certificate);
  add(request.tls->key);
  add(request.tls->authorities);
  return state;
}

}  // namespace

Serving::Serving(ServeRequest request, io::Directory& archive, archive::AskDurableEnd ask, Log& log,
                 Listeners listeners, relay::FindWriter find_writer)
    : request_(std::move(request)),
      archive_(archive),
      ask_(std::move(ask)),
      find_writer_(std::move(find_writer)),
      log_(log),
      listening_(std::move(listeners)),
      clients_(
          request_.waiting, [this](const relay::Feedback& feedback) { on_feedback(feedback); },
          listening_.comes_or_goes) {
  secrets_read_ = state_of_secrets(request_);
  access_.set(read_access(request_));
  crypto::load();
  listeners_ = bind_listeners(request_);
  tell_who_may_come();
  tell_expiry();
  watch_secrets();
}

Serving::~Serving() {
  over_.raise();
  if (secrets_thread_) secrets_thread_->join();
}

/// Renewing certificates or changing passwords does not require a reload.
void Serving::watch_secrets() {
  if (!request_.tls && !request_.users) return;
  try {
    secrets_thread_ = machine_threads().start(
        "secrets",
        [this] {
          while (net::pause(over_, kLookAtSecrets)) renew_secrets();
        },
        Threads::Priority::low);
  } catch (const std::system_error& error) {
    log_.warning("could not start the thread that monitors certificate files: {}", error.what());
  }
}

/// The rules as they are: those change by SIGHUP.
void Serving::renew_secrets() {
  try {
    // Not under the lock: the files' file system may hang.
    const auto state =
        reread_unless(over_, [request = request_] { return state_of_secrets(request); });
    if (!state) return;
    {
      const std::lock_guard lock(reload_mutex_);
      if (*state == secrets_read_) return;
      secrets_read_ = *state;
    }
    const auto read = reread_unless(over_, [request = request_] {
      return std::pair(read_users(request), request.tls ? read_tls(*request.tls) : nullptr);
    });
    if (!read) return;
    {
      const std::lock_guard lock(reload_mutex_);
      if (*state != secrets_read_) return;  // SIGHUP has read newer ones meanwhile
      auto fresh = std::make_shared<relay::Access>(*access_.get());
      fresh->users = read->first;
      if (request_.tls) fresh->tls = read->second;
      access_.set(std::move(fresh));
    }
    log_.info("{} replaced: new clients use the new contents",
              request_.tls ? "the certificate or the users file was" : "the users file was");
    tell_expiry();
  } catch (const Error& error) {
    log_.warning("{}; the previous contents stay in effect until this is fixed", error.what());
  }
}

/// Passes the clients' flush positions to the hub during its lifetime.
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
    if (hub == nullptr) return;
    hub->set_version(serving_.version_);
    hub->set_last_word(serving_.last_word_);
  }
  Serving& serving_;
};

/// The same for the slots, which end before the hub does.
class Serving::SlotsNow {
 public:
  SlotsNow(Serving& serving, relay::Slots& slots) : serving_(serving) { set(&slots); }
  ~SlotsNow() { set(nullptr); }
  SlotsNow(const SlotsNow&) = delete;
  SlotsNow& operator=(const SlotsNow&) = delete;

 private:
  void set(relay::Slots* slots) {
    const std::lock_guard lock(serving_.slots_mutex_);
    serving_.slots_ = slots;
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
  const SlotsNow slots_now(*this, slots);
  relay::Server server(archive_, *cluster_, hub, slots, clients_, access_, request_.server, log_);
  relay::NamesChanged names_changed;
  if (std::shared_ptr names = io::NamesWatch::begin(archive_.path()); names != nullptr)
    names_changed = [names] { return names->changed(); };
  const relay::ArchiveWatch watch(archive_, *cluster_, ask_, find_writer_, std::move(names_changed),
                                  news_, hub, log_, listening_.durability_lost);
  // Before it is reported: a client may connect as soon as it reads that.
  relay::Server::listen(listeners_);
  tell(fmt::format(
      "serving system {} (PostgreSQL {}), timeline {} up to {}{}", cluster_->system_identifier,
      cluster_->major, found->timeline(), found->end,
      receives ? ", and new WAL as soon as the receiver has flushed it"
               : "; without a running receiver, new WAL is served once its segment is complete"));
  for (const auto& listener : listeners_)
    log_.info("listening on {}", listener.address().to_string());
  server.run(listeners_, stop);
  slots.close();
}

archive::ServingView Serving::view() const {
  archive::ServingView view;
  for (const auto& listener : listeners_) view.listens.push_back(listener.address().to_string());
  view.clients = clients_.view();
  if (const auto tls = access_.get()->tls)
    view.certificate = archive::ServedCertificate{request_.tls->certificate, tls->expires()};
  if (const std::lock_guard lock(hub_mutex_); hub_ != nullptr) {
    const auto served = hub_->served();
    view.problem = hub_->problem();
    if (!hub_->abandoned()) view.end = archive::DurableEnd{served->timeline(), served->end};
    for (auto& client : view.clients) client.behind = archive::bytes_behind(client, served->end);
  }
  // Not under the hub's lock: slots report what they retain under a lock of their own, which leads
  // to on_feedback().
  const std::lock_guard lock(slots_mutex_);
  if (slots_ == nullptr) return view;
  const auto slots = slots_->all();
  if (!slots) return view;
  view.slots.emplace();
  for (const auto& slot : *slots)
    view.slots->push_back(
        {slot.kept, slot.temporary, slot.active,
         archive::retained_by(slot.kept, view.end ? view.end->flush : wal::Lsn())});
  return view;
}

/// Clients are woken from here if that is fast: another thread in between would cost them the time
/// of its own wakeup.
void Serving::on_durable(const archive::DurableEnd& end) {
  {
    const std::lock_guard lock(hub_mutex_);
    if (hub_ != nullptr && hub_->on_durable_soon(end.timeline, end.flush)) return;
  }
  news_.raise();
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

void Serving::set_last_word(const std::optional<wire::ErrorReport>& word) {
  const std::lock_guard lock(hub_mutex_);
  last_word_ = word;
  if (hub_ != nullptr) hub_->set_last_word(word);
}

void Serving::reload() {
  try {
    auto state = reread([request = request_] { return state_of_secrets(request); });
    {
      const std::lock_guard lock(reload_mutex_);
      secrets_read_ = state;
    }
    auto access = reread([request = request_] { return read_access(request); });
    {
      const std::lock_guard lock(reload_mutex_);
      secrets_read_ = std::move(state);  // of these: later changes are read again
      access_.set(std::move(access));
    }
    log_.info("reloaded the HBA and users files{}", request_.tls ? ", and the certificate" : "");
    tell_expiry();
  } catch (const Error& error) {
    log_.error(error);
    log_.warning("the previous HBA file and users stay in effect{}",
                 request_.tls ? ", and the certificate" : "");
  }
}

/// nullopt: it was stopped before there was any. Until then no client can connect, and clients
/// retry automatically.
std::optional<relay::Served> Serving::wait_for_wal(const net::Wake& stop, const Tell& tell) {
  bool told_trouble = false;
  for (bool told = false;; told = true) {
    news_.clear();
    cluster_ = relay::find_cluster(archive_);
    if (cluster_) {
      const bool asked = find_writer_ && !ask_();
      const auto counts =
          asked && find_writer_() ? relay::Counts::finished : relay::Counts::everything;
      try {
        if (auto found = relay::find_served(archive_, cluster_->segment_size, counts)) return found;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::retry) throw;
        if (!told_trouble) log_.error(error);
        told_trouble = true;
      }
    }
    if (!told && !told_trouble) tell("the archive has no WAL yet; it is served once there is some");
    try {
      net::wait_for_socket(news_.fd(), true, false, &stop,
                           std::chrono::steady_clock::now() + kLook);
    } catch (const net::Interrupted&) {
      return std::nullopt;
    }
  }
}

/// Clients that verify it (sslmode=verify-ca and verify-full) reject it then.
void Serving::tell_expiry() const {
  const auto tls = access_.get()->tls;
  if (tls == nullptr) return;
  const auto left = tls->expires() - std::chrono::system_clock::now();
  const auto when = format_time(tls->expires());
  if (left <= 0s)
    log_.warning("the certificate {} has expired on {}", request_.tls->certificate, when);
  else if (left < crypto::kExpiresSoon)
    log_.warning("the certificate {} expires on {}; put a new one there and send SIGHUP",
                 request_.tls->certificate, when);
}

void Serving::tell_who_may_come() const {
  if (request_.users && open_to_others(*request_.users))
    log_.warning("all users of this machine can read the users file {}: run chmod 640",
                 *request_.users);
  if (request_.hba) return;
  if (access_.get()->users.size() == 0)
    log_.warning(
        "no client can connect: no user has a password (--serve-users), and there is no HBA file "
        "(--serve-hba) that allows connections without one");
  else
    log_.info("without --serve-hba, only clients on this machine can connect, with a password");
}

}  // namespace weir::cli
