#include "net/connect.h"

#include <poll.h>

#include <cerrno>

namespace weir::net {

namespace {

/// A Unix socket's queue does not report when there is room again.
constexpr int kTryAgain = 20;

}  // namespace

Connected connect(const Address& address, Kind kind, Deadline deadline) {
  Connected result{make_socket(address, kind), 0};
  const int socket = result.socket.get();
  while (::connect(socket, address.data(), address.size()) != 0) {
    if (errno == EINPROGRESS) {
      int code = ETIMEDOUT;
      socklen_t size = sizeof code;
      if (wait_for_socket(socket, false, true, nullptr, deadline))
        ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &size);
      if (code == 0) return result;
      return {Descriptor(), code};
    }
    if (errno != EAGAIN && errno != EINTR) return {Descriptor(), errno};
    if (std::chrono::steady_clock::now() >= deadline) return {Descriptor(), ETIMEDOUT};
    ::poll(nullptr, 0, kTryAgain);
  }
  return result;
}

}  // namespace weir::net
