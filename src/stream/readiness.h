#pragma once

#include <chrono>
#include <optional>

namespace weir::stream {

/// One descriptor that stands for a connection whose socket may change, and for a point in time: an
/// epoll of the socket and a timer, which is itself pollable. Any thread may change what is
/// watched.
class Readiness {
 public:
  using Time = std::chrono::steady_clock::time_point;

  Readiness();
  ~Readiness();
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  /// Readable while the socket is (or, if asked for, can be written), or the time has come.
  [[nodiscard]] int fd() const { return epoll_; }

  /// Watches this socket from now on; -1, which libpq has for one that it closed: always ready.
  void watch(int socket, bool write);
  /// Forgets the socket, before it is closed.
  void unwatch();
  void set_alarm(std::optional<Time> at);

 private:
  int epoll_;
  int timer_;
  int always_;  // an eventfd that is raised
  int socket_ = -1;
  bool watching_ = false;
};

}  // namespace weir::stream
