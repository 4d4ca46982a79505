#include "net/wake.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/error.h"

namespace weir::net {

Wake::Wake() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!fd_) throw system_error(errno, "could not create an eventfd");
}

void Wake::raise() noexcept {
  const int saved = errno;  // also called from signal handlers
  const std::uint64_t one = 1;
  // It can only fail with EAGAIN, at the counter's maximum: then it is raised already.
  static_cast<void>(!::write(fd_.get(), &one, sizeof one));
  errno = saved;
}

void Wake::clear() noexcept {
  std::uint64_t count = 0;
  static_cast<void>(!::read(fd_.get(), &count, sizeof count));
}

bool Wake::raised() const noexcept {
  pollfd fd{fd_.get(), POLLIN, 0};
  return ::poll(&fd, 1, 0) > 0;
}

}  // namespace weir::net
