#include "net/listener.h"

#include <poll.h>
#include <sys/stat.h>  // check-includes: the mode of a socket
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "base/error.h"
#include "net/wait.h"

namespace weir::net {

namespace {

using namespace std::chrono_literals;

/// Delay before the next attempt after a shortage.
constexpr auto kShortage = 100ms;

}  // namespace

Descriptor make_socket(const Address& address, Kind kind) {
  const int type = kind == Kind::bytes ? SOCK_STREAM : SOCK_SEQPACKET;
  Descriptor made(::socket(address.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) throw system_error(errno, "could not create a socket");
  return made;
}

Listener Listener::bind(const Address& address, Kind kind, std::optional<mode_t> mode) {
  auto socket = make_socket(address, kind);
  // On Linux the name gets the socket's mode.
  if (mode) ::fchmod(socket.get(), *mode);
  if (address.family() != AF_UNIX) {
    // Closing connections of an earlier process do not block the port.
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  if (::bind(socket.get(), address.data(), address.size()) != 0)
    throw system_error(errno, "could not bind a socket to its address");
  return Listener(std::move(socket));
}

Listener Listener::bind_over_stale(const Address& address, mode_t mode) {
  const auto somebody = make_socket(address, Kind::bytes);
  if (::connect(somebody.get(), address.data(), address.size()) != 0 && errno == ECONNREFUSED)
    // Fails if the name is not a socket of ours: then bind() fails, too.
    ::unlink(address.to_string().c_str());  // check-includes: the name of an unused socket
  auto bound = bind(address, Kind::bytes, mode);
  // The umask has been applied; no client can connect before listen().
  if (::chmod(address.to_string().c_str(), mode) != 0)
    throw system_error(errno, "could not set the mode of a socket");
  return bound;
}

void Listener::listen(int backlog) {
  if (::listen(socket_.get(), backlog) != 0)
    throw system_error(errno, "could not listen on a socket");
}

std::optional<Descriptor> Listener::accept(const Wake& stop) {
  for (;;) {
    pollfd polls[] = {{socket_.get(), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
    if (::poll(polls, 2, -1) < 0) continue;
    if (polls[1].revents != 0) return std::nullopt;
    if (auto connection = accept_now()) return connection;
    if (is_shortage(errno) && !pause(stop, kShortage)) return std::nullopt;
  }
}

Descriptor Listener::accept_now() {
  return Descriptor(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

bool is_shortage(int error) { return error != EAGAIN && error != EINTR && error != ECONNABORTED; }

pid_t same_users_process(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return 0;
  return peer.uid == ::geteuid() ? peer.pid : 0;
}

}  // namespace weir::net
