// A thread for each client of the relay, and one listener thread for all clients that have not
// authenticated yet. Reading a file, decompressing it and verifying records takes time on a slow
// disk, and must not delay other clients. A thread for each client ensures that, and a client that
// does not read costs a sleeping thread and 128 kB unsent. Throughput does not suffer: a bare loop
// that sends the same memory to eight clients takes as long with eight threads as with one or two.
// The listener thread never waits for a client, so the only effect of 2,000 half-open connections
// is that the oldest of them are closed.

#include "relay/server.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>

#include "base/base64.h"
#include "crypto/primitives.h"
#include "net/ip.h"
#include "net/stream.h"
#include "net/wait.h"
#include "wire/backend_messages.h"

namespace weir::relay {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kToldAMinute = 20;
/// Maximum number of connections that wait to be accepted.
constexpr int kBacklog = 128;
/// A lack of descriptors or memory.
constexpr std::chrono::milliseconds kShortageWait{100};

std::string make_nonce() {
  std::array<std::byte, kScramNonceSize> raw{};
  crypto::random_bytes(raw);
  return to_base64(raw);
}

std::uint32_t make_secret() {
  std::array<std::byte, 4> raw{};
  crypto::random_bytes(raw);
  std::uint32_t number = 0;
  std::memcpy(&number, raw.data(), raw.size());
  return number;
}

/// nullopt: it has disconnected, and its address is no longer known. (Looking up the name of a
/// local user may require the network: only done if needed.)
std::optional<Peer> peer_of(int socket, const Rules& rules) {
  Peer peer;
  try {
    peer.address = net::peer_address(socket);
  } catch (const Error&) {
    return std::nullopt;
  }
  if (!peer.address && rules.needs_local_users()) peer.local_user = net::peer_user(socket);
  // For each connection, as check_same_host_or_net() in libpq/hba.c: interfaces come and go.
  if (peer.address && rules.needs_own_networks()) peer.own_networks = net::own_networks();
  return peer;
}

}  // namespace

Server::Server(io::Shelf& archive, const Cluster& cluster, Hub& hub, Slots& slots, Clients& clients,
               const AccessBoard& access, Options options, Log& log)
    : archive_(archive),
      cluster_(cluster),
      hub_(hub),
      slots_(slots),
      clients_(clients),
      access_(access),
      options_(std::move(options)),
      log_(log),
      seldom_(log, kToldAMinute),
      trouble_(log, kToldAMinute),
      wal_(archive, cluster_, machine_threads()) {
  if (options_.backups) backups_.emplace(*options_.backups, cluster.system_identifier, log);
}

void Server::listen(std::vector<net::Listener>& listeners) {
  for (auto& listener : listeners) listener.listen(kBacklog);
}

void Server::run(std::vector<net::Listener>& listeners, const net::Wake& stop) {
  // Also if serving fails: clients would otherwise be served by their threads, which are waited
  // for, for as long as they stay, while no new client is accepted.
  struct AtTheEnd {
    Server& server;
    ~AtTheEnd() { server.disconnect_all(); }
  } const at_the_end{*this};
  while (!stop.raised()) {
    std::vector<pollfd> polls = {{stop.fd(), POLLIN, 0}, {reap_.fd(), POLLIN, 0}};
    for (const auto& listener : listeners) polls.push_back({listener.fd(), POLLIN, 0});
    const auto first_visitor = polls.size();
    Time until = Clock::now() + std::chrono::hours(1);
    for (auto& visitor : visitors_) {
      const bool sends = !visitor.state.output().empty() || visitor.stream->has_unsent();
      // No input is read from a client that is being disconnected.
      const bool listens = visitor.state.state() != EntranceState::State::left;
      const auto events = (listens ? POLLIN : 0) | (sends ? POLLOUT : 0);
      polls.push_back({visitor.stream->fd(), static_cast<short>(events), 0});
      until = std::min(until, visitor.until);
    }
    // More of them than the limit on descriptors, or no memory: it would fail again at once.
    if (::poll(polls.data(), polls.size(), net::milliseconds_until(until)) < 0 && errno != EINTR)
      net::pause(stop, kShortageWait);

    auto poll = polls.begin() + static_cast<std::ptrdiff_t>(first_visitor);
    for (auto visitor = visitors_.begin(); poll != polls.end(); ++poll) {
      const bool stays =
          (poll->revents == 0 && Clock::now() < visitor->until) ||
          unless_it_fails([&] { return attend(*visitor, (poll->revents & ~POLLOUT) != 0); });
      visitor = stays ? std::next(visitor) : visitors_.erase(visitor);
    }
    for (std::size_t i = 0; i < listeners.size(); ++i)
      if (polls[2 + i].revents != 0)
        unless_it_fails([&] {
          welcome(listeners[i], stop);
          return true;
        });
    reap();
  }
}

void Server::disconnect_all() {
  visitors_.clear();
  hub_.stop();
  guests_.clear();  // each thread is waited for
}

/// What fails for one client, for lack of memory for example, must not end serving.
template <typename Work>
bool Server::unless_it_fails(Work work) {
  try {
    return work();
  } catch (const std::exception& error) {
    seldom_.warning(fmt::format("could not serve a client: {}", error.what()));
    return false;
  }
}

void Server::welcome(net::Listener& listener, const net::Wake& stop) {
  auto socket = listener.accept_now();
  if (!socket) return wait_out(errno, stop);
  told_shortage_ = false;
  auto access = access_.get();
  const auto peer = peer_of(socket.get(), access->rules);
  if (!peer) return;  // a client that only checks whether the server is up
  if (visitors_.size() >= options_.max_at_the_door) {
    seldom_.warning(fmt::format("{} clients have not authenticated: disconnecting the oldest one",
                                visitors_.size()));
    visitors_.pop_front();
  }
  net::tune_connection(socket.get());
  // As with a server, over a Unix socket there is none.
  const bool offers_tls = access->tls != nullptr && peer->address;
  EntranceState state(*access, *peer, make_nonce(), offers_tls);
  visitors_.push_back({std::make_unique<net::PlainStream>(std::move(socket)), nullptr, std::nullopt,
                       std::move(access), std::move(state),
                       Clock::now() + options_.authentication_time});
}

/// No connection could be accepted, and the attempt would be repeated in a busy loop.
void Server::wait_out(int error, const net::Wake& stop) {
  if (!net::is_shortage(error)) return;
  const bool descriptors = error == EMFILE || error == ENFILE;
  if (!std::exchange(told_shortage_, true))
    seldom_.warning(descriptors ? "out of file descriptors for new clients (ulimit -n)"
                                : fmt::format("could not accept more clients for now: {}",
                                              std::generic_category().message(error)));
  // The client that has been authenticating longest is disconnected; if there is none, only
  // accepting pauses.
  if (descriptors && !visitors_.empty())
    visitors_.pop_front();
  else
    net::pause(stop, kShortageWait);
}

bool Server::attend(Visitor& visitor, bool can_read) {
  auto& state = visitor.state;
  if (can_read && state.state() != EntranceState::State::left && !listen_to(visitor)) return false;
  if (state.state() == EntranceState::State::admitted) {
    admit(visitor);
    return false;
  }
  const auto sent = visitor.stream->send_now(state.output());
  if (!sent) return false;
  state.output().erase(0, *sent);
  const bool left = state.state() == EntranceState::State::left;
  if (left && state.output().empty() && !visitor.stream->has_unsent()) return false;
  if (Clock::now() < visitor.until) return true;
  if (left) return false;
  seldom_.warning(fmt::format("a client from {} did not authenticate within {} s",
                              to_string(state.peer()),
                              options_.authentication_time.count() / 1000));
  return false;
}

/// Reads the client's input. Nothing may remain in the TLS buffer: poll() would not report it.
bool Server::listen_to(Visitor& visitor) {
  auto& state = visitor.state;
  std::array<char, 4096> bytes;
  for (;;) {
    if (visitor.shakes_hands != nullptr && !shake_hands(visitor)) return false;
    if (state.state() == EntranceState::State::left) {
      if (state.cancel()) cancels_.cancel(*state.cancel());
      tell_refusal(visitor);
    }
    if (state.state() != EntranceState::State::open) return true;
    const auto count = visitor.stream->receive_now(bytes);
    if (!count) return false;  // silently: it has no password, or only checks for a server
    if (*count == 0) return true;
    state.on_bytes(std::as_bytes(std::span(bytes).first(*count)));
    if (state.state() == EntranceState::State::encrypts && !begin_tls(visitor)) return false;
  }
}

/// False, as below: it is not at the door any more.
bool Server::begin_tls(Visitor& visitor) {
  auto& state = visitor.state;
  try {
    // It is a plain one: there is no TLS within TLS.
    auto socket = static_cast<net::PlainStream&>(*visitor.stream).take_socket();
    auto stream = std::make_unique<TlsStream>(std::move(socket), visitor.access->tls,
                                              std::exchange(state.output(), {}), state.rest());
    visitor.shakes_hands = stream.get();
    visitor.stream = std::move(stream);
    return true;
  } catch (const Error& error) {
    refused(visitor, error.what());
    return false;
  }
}

bool Server::shake_hands(Visitor& visitor) {
  const auto& session = visitor.shakes_hands->session();
  switch (visitor.shakes_hands->shake_hands()) {
    case crypto::TlsSession::Progress::more:
      return true;
    case crypto::TlsSession::Progress::failed:
      refused(visitor, fmt::format("could not accept SSL connection: {}",
                                   session.why().empty() ? "EOF detected" : session.why()));
      return false;
    case crypto::TlsSession::Progress::done:
      visitor.shakes_hands = nullptr;
      visitor.ssl = {session.version(), session.cipher(), session.bits()};
      visitor.state.on_encrypted({session.protocol_named(), session.has_certificate(),
                                  session.common_name(), visitor.access->tls->end_point()});
  }
  return true;
}

void Server::admit(Visitor& visitor) {
  auto& state = visitor.state;
  const auto in =
      std::count_if(guests_.begin(), guests_.end(), [](const Guest& guest) { return !guest.gone; });
  if (static_cast<std::size_t>(in) >= options_.max_clients) {
    wire::append_error(state.output(), wire::Severity::fatal,
                       {"53300", "sorry, too many clients already"});
    static_cast<void>(visitor.stream->send_now(state.output()));
    seldom_.warning(
        fmt::format("rejected a client from {}: too many clients "
                    "(--serve-max-clients {})",
                    to_string(state.peer()), options_.max_clients));
    return;
  }
  Client client{state.user(),
                state.application_name(),
                to_string(state.peer()),
                state.rest(),
                std::move(state.output()),
                ++processes_,
                make_secret(),
                visitor.ssl};
  log_.info("client \"{}\" ({}, user \"{}\") connected{}", client.application_name, client.address,
            client.user, state.peer().encrypted ? ", over TLS" : "");
  auto& guest = guests_.emplace_back();
  try {
    // std::function requires a copyable callable.
    auto stream = std::make_shared<std::unique_ptr<net::Stream>>(std::move(visitor.stream));
    guest.thread = machine_threads().start("client", [this, &guest, stream, client] {
      try {
        serve_client(std::move(*stream), client,
                     {archive_, cluster_, wal_, hub_, slots_, clients_, log_, trouble_,
                      backups_ ? &*backups_ : nullptr, &cancels_});
      } catch (const std::exception& error) {
        trouble_.warning(fmt::format("disconnected a client: {}", error.what()));
      }
      guest.gone = true;
      reap_.raise();
    });
  } catch (const std::exception&) {
    guests_.pop_back();
    throw;
  }
}

void Server::tell_refusal(const Visitor& visitor) {
  if (visitor.state.refusal()) refused(visitor, *visitor.state.refusal());
}

void Server::refused(const Visitor& visitor, const std::string& why) {
  const auto& state = visitor.state;
  seldom_.warning(fmt::format(
      "rejected a client from {}{}: {}", to_string(state.peer()),
      state.user().empty() ? std::string() : fmt::format(" (user \"{}\")", state.user()), why));
}

void Server::reap() {
  reap_.clear();
  guests_.remove_if([](const Guest& guest) { return guest.gone.load(); });
}

}  // namespace weir::relay
