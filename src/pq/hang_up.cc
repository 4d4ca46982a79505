#include "pq/hang_up.h"

#include <fcntl.h>  // check-includes: to duplicate a socket
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/descriptor.h"
#include "net/wait.h"

namespace weir::pq {

void hang_up(Connection connection, std::chrono::milliseconds longest) {
  const auto deadline = std::chrono::steady_clock::now() + longest;
  // The process exits after it has read libpq's last message, and with it ends its side of the
  // socket. libpq closes ours at once.
  const Descriptor socket(::fcntl(connection.socket(), F_DUPFD_CLOEXEC, 0));
  { const Connection closed(std::move(connection)); }
  if (!socket) return;
  std::array<char, 256> ignored{};
  while (net::wait_for_socket(socket.get(), true, false, nullptr, deadline)) {
    const auto count = ::recv(socket.get(), ignored.data(), ignored.size(), MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) return;
  }
}

}  // namespace weir::pq
