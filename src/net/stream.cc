#include "net/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "base/error.h"

namespace weir::net {

std::optional<std::size_t> send_now(int socket, std::string_view bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const auto rest = bytes.substr(sent);
    const auto count = ::send(socket, rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) return std::nullopt;
    sent += static_cast<std::size_t>(count);
  }
  return sent;
}

std::optional<std::size_t> send_now(int socket, std::span<const std::string_view> parts) {
  std::array<iovec, 16> pieces;
  std::size_t count = 0;
  for (const auto part : parts) {
    if (part.empty()) continue;
    PGWEIR_CHECK(count < pieces.size());
    pieces[count++] = {const_cast<char*>(part.data()), part.size()};
  }
  if (count == 0) return 0;
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = count;
  for (;;) {
    const auto sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) return std::nullopt;
  }
}

std::optional<std::size_t> receive_now(int socket, std::span<char> bytes) {
  for (;;) {
    const auto count = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count > 0) return static_cast<std::size_t>(count);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return 0;
    return std::nullopt;
  }
}

void tune_connection(int socket) {
  const int on = 1;
  // Not supported by a Unix socket, and not needed there.
  static_cast<void>(::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  static_cast<void>(::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
}

void end_sending(int socket) { static_cast<void>(::shutdown(socket, SHUT_WR)); }

bool send_all(Stream& stream, std::string_view bytes, Deadline deadline) {
  for (;;) {
    const auto sent = stream.send_now(bytes);
    if (!sent) return false;
    bytes.remove_prefix(*sent);
    if (bytes.empty() && !stream.has_unsent()) return true;
    if (*sent == 0 && !wait_for_socket(stream.fd(), false, true, nullptr, deadline)) return false;
  }
}

}  // namespace weir::net
