#pragma once

#include <chrono>
#include <optional>

namespace weir::stream {

/// One descriptor that represents a connection whose socket may change, and a point in time: an
/// epoll of the socket and a timer, which is itself pollable. Any thread can change what is
/// watched.
class Readiness {
 public:
  using Time = std::chrono::steady_clock::time_point;

  Readiness();
  ~Readiness();
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  /// Readable while the socket is readable (or, if requested, writable), or the time has come.
  [[nodiscard]] int fd() const { return epoll_; }

  /// Watches this socket from now on; -1, libpq's value for a closed one: always ready.
  void watch(int socket, bool write);
  /// Removes the socket, before it is closed.
  void unwatch();
  void set_alarm(std::optional<Time> at);

 private:
  int epoll_;
  int timer_;
  int always_;  // an eventfd that is always readable
  int socket_ = -1;
  bool watching_ = false;
};

}  // namespace weir::stream
