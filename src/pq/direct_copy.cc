#include "pq/direct_copy.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
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

/// The kernel makes a socket's buffer twice as large: not to be had by any length a server names.
constexpr std::size_t kHighestMark = std::size_t{1} << 20;

bool would_wait(ssize_t count) { return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK); }

}  // namespace

DirectCopy::Found DirectCopy::next(std::span<std::byte> place) {
  if (taken_ != 0) return take_rest();
  // Looked at, not taken: it may be libpq's.
  std::array<iovec, 2> parts{{{front_.data(), front_.size()}, {}}};
  const ssize_t seen = receive(socket_, std::span(parts).first(1), MSG_PEEK);
  if (would_wait(seen)) return leave(1);
  if (seen <= 0 || front_[0] != std::byte{'d'}) return Found::other;
  const auto there = static_cast<std::size_t>(seen);
  if (there < kEnvelope) return leave(kEnvelope);
  std::size_t length = 0;
  for (std::size_t i = 1; i < kEnvelope; ++i)
    length = length << 8 | std::to_integer<std::size_t>(front_[i]);
  if (length < kEnvelope - 1 || length > kEnvelope - 1 + kHead + largest_)
    throw Error(ErrorKind::protocol, "the server sent a WAL message of impossible size")
        .with("bytes", length)
        .hint(
            "No PostgreSQL sends such a thing. Is it PostgreSQL itself that answers there? "
            "Connection poolers and proxies do not carry replication.");
  size_ = 1 + length;
  front_size_ = std::min(size_, front_.size());
  if (there < front_size_) return leave(front_size_);
  if (unread_ < size_) unread_ = bytes_unread(socket_);
  // It costs less to take it whole. Where the socket can't hold so much it comes in pieces.
  const bool whole = unread_ >= size_;
  if (!whole && !std::exchange(was_left_, true)) return leave(size_);

  choose_body(whole ? place : std::span<std::byte>());
  parts[0].iov_len = front_size_;
  parts[1] = {body_.data(), body_.size()};
  const ssize_t count = receive(socket_, parts, 0);
  if (count < static_cast<ssize_t>(front_size_)) return Found::lost;  // it was there just now
  taken_ = static_cast<std::size_t>(count);
  unread_ -= std::min(unread_, taken_);
  was_left_ = false;
  return take_rest();
}

DirectCopy::Found DirectCopy::take_rest() {
  while (taken_ < size_) {
    const auto rest = body_.subspan(taken_ - front_size_);
    std::array<iovec, 1> part{{{rest.data(), rest.size()}}};
    const ssize_t count = receive(socket_, part, 0);
    if (would_wait(count)) {
      // By the next call `place` may be gone.
      if (body_.data() != own_.data()) {
        own_.assign(body_.begin(), body_.end());
        body_ = own_;
      }
      return leave(1);
    }
    if (count <= 0) return Found::lost;
    taken_ += static_cast<std::size_t>(count);
    unread_ = 0;
  }
  taken_ = 0;
  return Found::message;
}

void DirectCopy::choose_body(std::span<std::byte> place) {
  const std::size_t bytes = size_ - front_size_;
  if (place.size() >= bytes) {
    body_ = place.first(bytes);
    return;
  }
  own_.resize(bytes);
  body_ = own_;
}

std::span<const std::byte> DirectCopy::head() const {
  return std::span(front_).subspan(kEnvelope, front_size_ - kEnvelope);
}

std::vector<std::byte> DirectCopy::release_body() {
  PGWEIR_CHECK(!within_message());
  body_ = {};
  return std::exchange(own_, {});
}

void DirectCopy::gather(std::size_t bytes) {
  wanted_ = bytes;
  leave(1);
}

DirectCopy::Found DirectCopy::leave(std::size_t bytes) {
  const std::size_t mark = std::min(std::max(bytes, wanted_), kHighestMark);
  if (std::exchange(low_mark_, mark) != mark) {
    const auto value = static_cast<int>(mark);
    // Refused: then poll() returns sooner, and what is there is taken.
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
  }
  return Found::nothing;
}

}  // namespace weir::pq
