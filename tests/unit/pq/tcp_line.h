#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <system_error>

#include "pq/tcp_count.h"

namespace weir::pq {

/// The two ends of a TCP connection on 127.0.0.1.
class TcpLine {
 public:
  TcpLine() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    require(::bind(listener, generic, size) == 0 && ::listen(listener, 1) == 0 &&
            ::getsockname(listener, generic, &size) == 0);
    ours_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(::connect(ours_, generic, size) == 0);
    theirs_ = ::accept(listener, nullptr, nullptr);
    require(theirs_ >= 0);
    ::close(listener);
  }
  TcpLine(const TcpLine&) = delete;
  TcpLine& operator=(const TcpLine&) = delete;
  ~TcpLine() {
    ::close(ours_);
    hang_up();
  }

  [[nodiscard]] int ours() const { return ours_; }
  void hang_up() {
    if (theirs_ >= 0) ::close(theirs_);
    theirs_ = -1;
  }

  /// Returns when the other side's kernel has all of it.
  void send(const std::string& bytes) {
    const auto before = bytes_unread(ours_);
    require(::send(theirs_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    while (bytes_unread(ours_) < before + bytes.size()) ::poll(nullptr, 0, 1);
  }
  /// Reads what libpq would have to read.
  std::string rest() {
    std::string bytes(4096, '\0');
    const auto count = ::recv(ours_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
  }
  bool readable(int milliseconds = 0) const {
    pollfd fd{ours_, POLLIN, 0};
    return ::poll(&fd, 1, milliseconds) == 1;
  }

 private:
  static void require(bool good) {
    if (!good) throw std::system_error(errno, std::generic_category());
  }
  int ours_ = -1;
  int theirs_ = -1;
};

}  // namespace weir::pq
