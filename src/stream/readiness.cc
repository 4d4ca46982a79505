#include "stream/readiness.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace weir::stream {

namespace {

void add(int epoll, int fd, unsigned events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return;
  // The descriptor is known if it was not closed since, and unknown if libpq closed it meanwhile.
  if (errno != EEXIST || ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0)
    throw system_error(errno, "could not watch a socket");
}

void remove(int epoll, int fd) {
  epoll_event unused{};
  static_cast<void>(
      ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &unused));  // closed ones are already removed
}

}  // namespace

Readiness::Readiness()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      always_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) {
  try {
    if (epoll_ < 0 || timer_ < 0 || always_ < 0)
      throw system_error(errno, "could not prepare for waiting");
    add(epoll_, timer_, EPOLLIN);
  } catch (...) {
    for (const int fd : {epoll_, timer_, always_})
      if (fd >= 0) ::close(fd);
    throw;
  }
}

Readiness::~Readiness() {
  for (const int fd : {epoll_, timer_, always_}) ::close(fd);
}

void Readiness::watch(int socket, bool write) {
  if (watching_ && socket != socket_) unwatch();
  if (socket < 0)
    add(epoll_, always_, EPOLLIN);
  else
    add(epoll_, socket, EPOLLIN | (write ? unsigned{EPOLLOUT} : 0u));
  socket_ = socket;
  watching_ = true;
}

void Readiness::unwatch() {
  if (!watching_) return;
  remove(epoll_, socket_ < 0 ? always_ : socket_);
  watching_ = false;
}

void Readiness::set_alarm(std::optional<Time> at) {
  itimerspec spec{};
  if (at) {
    // steady_clock is CLOCK_MONOTONIC on Linux. Zero would disarm it.
    const auto since =
        std::max<std::chrono::nanoseconds>(at->time_since_epoch(), std::chrono::nanoseconds(1));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
    spec.it_value.tv_sec = seconds.count();
    spec.it_value.tv_nsec = (since - seconds).count();
  }
  if (::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr) != 0)
    throw system_error(errno, "could not set a timer");
}

}  // namespace weir::stream
