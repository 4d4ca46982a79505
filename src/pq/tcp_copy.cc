#include "pq/tcp_copy.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "pq/tcp_count.h"

namespace weir::pq {

namespace {

/// recvmsg() without waiting: bytes, 0 at the end, -1 with errno.
ssize_t receive(int socket, std::span<iovec> parts, int flags) {
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  for (;;) {
    const ssize_t count = ::recvmsg(socket, &message, flags | MSG_DONTWAIT);
    if (count >= 0 || errno != EINTR) return count;
  }
}

bool would_wait(ssize_t count) { return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK); }

}  // namespace

DirectCopy::Found TcpCopy::next(std::span<std::byte> place) {
  if (taken_ != 0) return take_rest();
  // Peek only: the data may be libpq's.
  std::array<iovec, 2> parts{{{front_.data(), front_.size()}, {}}};
  const ssize_t seen = receive(socket_, std::span(parts).first(1), MSG_PEEK);
  if (would_wait(seen)) return leave(1);
  if (seen <= 0 || front_[0] != std::byte{'d'}) return Found::other;
  const auto there = static_cast<std::size_t>(seen);
  if (there < kEnvelope) return leave(kEnvelope);
  measure_message();
  if (there < front_size_) return leave(front_size_);
  if (unread_ < size_) unread_ = bytes_unread(socket_);
  // Reading a whole message costs less. If the socket cannot hold it, it is read in pieces.
  const bool whole = unread_ >= size_;
  if (!whole && !std::exchange(was_left_, true)) return leave(size_);

  choose_body(whole ? place : std::span<std::byte>());
  parts[0].iov_len = front_size_;
  parts[1] = {body_.data(), body_.size()};
  const ssize_t count = receive(socket_, parts, 0);
  if (count < static_cast<ssize_t>(front_size_)) return Found::lost;  // it was available just now
  taken_ = static_cast<std::size_t>(count);
  unread_ -= std::min(unread_, taken_);
  was_left_ = false;
  return take_rest();
}

DirectCopy::Found TcpCopy::take_rest() {
  while (taken_ < size_) {
    const auto rest = body_.subspan(taken_ - front_size_);
    std::array<iovec, 1> part{{{rest.data(), rest.size()}}};
    const ssize_t count = receive(socket_, part, 0);
    if (would_wait(count)) {
      leave_place(taken_ - front_size_);
      return leave(1);
    }
    if (count <= 0) return Found::lost;
    taken_ += static_cast<std::size_t>(count);
    unread_ = 0;
  }
  taken_ = 0;
  return Found::message;
}

}  // namespace weir::pq
