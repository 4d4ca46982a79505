#include "net/wait.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace weir::net {

namespace {

using Clock = std::chrono::steady_clock;

/// Maximum of poll(); a longer wait repeats it.
constexpr long long kLongestPoll = 1'000'000;

}  // namespace

int milliseconds_until(Deadline deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, kLongestPoll));
}

bool wait_for_socket(int socket, bool read, bool write, const Wake* wake, Deadline deadline) {
  for (;;) {
    // With a socket the poll below detects it.
    if (socket < 0 && wake != nullptr && wake->raised()) throw Interrupted{};
    if (socket < 0) return true;
    pollfd fds[2] = {};
    fds[0].fd = socket;
    fds[0].events = static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0));
    fds[1].fd = wake == nullptr ? -1 : wake->fd();
    fds[1].events = POLLIN;
    const int ready = ::poll(fds, 2, milliseconds_until(deadline));
    if (ready < 0 && errno != EINTR) throw system_error(errno, "could not wait for a connection");
    if (ready > 0 && fds[1].revents != 0) throw Interrupted{};
    if (ready > 0 && fds[0].revents != 0) return true;
    if (ready == 0 && Clock::now() >= deadline) return false;
  }
}

bool pause(const Wake& wake, std::chrono::milliseconds time) {
  const auto deadline = Clock::now() + time;
  for (;;) {
    pollfd fd{wake.fd(), POLLIN, 0};
    const int ready = ::poll(&fd, 1, milliseconds_until(deadline));
    if (ready > 0) return false;
    if (ready < 0 && errno != EINTR) throw system_error(errno, "could not wait");
    if (Clock::now() >= deadline) return true;
  }
}

bool send_all(int socket, std::string_view bytes, Deadline deadline, const Wake* wake) {
  while (!bytes.empty()) {
    const auto count = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    if (!wait_for_socket(socket, false, true, wake, deadline))
      throw Error(ErrorKind::retry, "the other side of a connection does not receive data");
  }
  return true;
}

std::size_t receive_some(int socket, std::span<char> bytes, Deadline deadline, const Wake* wake) {
  for (;;) {
    const auto count = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EINTR) continue;
    if (errno != EAGAIN)
      throw Error(ErrorKind::retry,
                  "a connection broke: " + std::generic_category().message(errno));
    if (!wait_for_socket(socket, true, false, wake, deadline))
      throw Error(ErrorKind::retry, "the other side of a connection does not answer");
  }
}

}  // namespace weir::net
