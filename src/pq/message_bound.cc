#include "pq/message_bound.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstddef>

#include "base/units.h"

namespace weir::pq {

namespace {

constexpr std::uint64_t kMost = 32 * 1024 * 1024;
/// So many looks are free: a message that comes in pieces is nothing special. Not many more, since
/// for a large message libpq reads as long as there is something.
constexpr int kFree = 3;

/// Bytes read off this socket in all, less what arrived between the two questions; nullopt if the
/// kernel does not count them.
std::optional<std::uint64_t> bytes_read(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  if (size < offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
    return std::nullopt;
  int unread = 0;
  if (::ioctl(socket, FIONREAD, &unread) != 0) return std::nullopt;
  return info.tcpi_bytes_received - static_cast<std::uint64_t>(unread);
}

}  // namespace

void MessageBound::incomplete(int socket) {
  if (++incomplete_ < kFree || socket < 0) return;
  const auto read = bytes_read(socket);
  if (!read) return;
  if (incomplete_ == kFree) begun_ = *read;
  if (*read <= begun_ + kMost) return;
  throw Error(ErrorKind::protocol, "the server sends ever more and no complete message")
      .with("bytes", "more than " + format_size(kMost))
      .hint(
          "No PostgreSQL sends such a thing. Is it PostgreSQL itself that answers there? "
          "Connection poolers and proxies do not carry replication.");
}

}  // namespace weir::pq
