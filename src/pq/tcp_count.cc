#include "pq/tcp_count.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

namespace weir::pq {

namespace {

std::optional<std::uint64_t> bytes_received(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  if (size < offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
    return std::nullopt;
  return info.tcpi_bytes_received;
}

std::optional<std::size_t> waiting(int socket) {
  int unread = 0;
  if (::ioctl(socket, FIONREAD, &unread) != 0 || unread < 0) return std::nullopt;
  return static_cast<std::size_t>(unread);
}

std::optional<std::uint64_t> difference(std::optional<std::uint64_t> received,
                                        std::optional<std::size_t> unread) {
  if (!received || !unread) return std::nullopt;
  // More data than that may arrive after the first answer.
  return *received - std::min<std::uint64_t>(*unread, *received);
}

}  // namespace

std::optional<std::uint64_t> bytes_read_at_least(int socket) {
  const auto received = bytes_received(socket);
  return difference(received, waiting(socket));
}

std::optional<std::uint64_t> bytes_read_at_most(int socket) {
  const auto unread = waiting(socket);
  return difference(bytes_received(socket), unread);
}

std::optional<std::uint64_t> bytes_read(int socket) {
  constexpr int kTries = 3;
  for (int i = 0; i < kTries; ++i) {
    const auto least = bytes_read_at_least(socket);
    if (least == bytes_read_at_most(socket)) return least;
  }
  return std::nullopt;
}

std::optional<std::size_t> receive_window(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  if (size < offsetof(tcp_info, tcpi_rcv_ssthresh) + sizeof info.tcpi_rcv_ssthresh)
    return std::nullopt;
  return info.tcpi_rcv_ssthresh;
}

std::size_t bytes_unread(int socket) { return waiting(socket).value_or(0); }

}  // namespace weir::pq
