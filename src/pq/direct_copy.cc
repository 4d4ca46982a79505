// During catch-up, WAL is read without libpq (`pq/direct_copy`, `pq/direct_reader`), because libpq
// copies each message two or three times and wakes up for each one, half of the cost of catching
// up. Without encryption (`pq/tcp_copy`) pgweir takes only whole CopyData messages, by recvmsg()
// straight into the segment's memory. It starts when libpq holds no byte of the stream: then the
// kernel's count of the bytes read from the socket is the sum of the messages taken. (If libpq has
// kept a byte, the two never become equal.) A message of any other type is left on the socket, and
// libpq reads it. Once the receiver has caught up, libpq reads all messages.

#include "pq/direct_copy.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "pq/tcp_count.h"

namespace weir::pq {

namespace {

/// The kernel doubles a socket's buffer: limits it regardless of lengths sent by a server.
constexpr std::size_t kHighestMark = std::size_t{1} << 20;

/// Waiting for more than the peer can send would always wait for poll()'s timeout; and a mark that
/// exceeds the buffer becomes the window (tcp_set_rcvlowat() in Linux' net/ipv4/tcp.c), so that a
/// distant sender stalls while we read. So only a part of the window is used. It is small at first,
/// and grows with what is read.
std::size_t most_to_gather(int socket) {
  constexpr std::size_t kShare = 4;
  const auto window = receive_window(socket);
  return window ? std::max<std::size_t>(*window / kShare, 1) : kHighestMark;
}

}  // namespace

void DirectCopy::measure_message() {
  std::size_t length = 0;
  for (std::size_t i = 1; i < kEnvelope; ++i)
    length = length << 8 | std::to_integer<std::size_t>(front_[i]);
  if (length < kEnvelope - 1 || length > kEnvelope - 1 + kHead + largest_)
    throw Error(ErrorKind::protocol, "invalid size of a WAL message from the server")
        .with("bytes", length)
        .hint(
            "PostgreSQL never sends this. Check host and port: connection poolers and proxies do "
            "not support replication.");
  size_ = 1 + length;
  front_size_ = std::min(size_, front_.size());
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

void DirectCopy::leave_place(std::size_t bytes_in_body) {
  if (body_.data() == own_.data()) return;
  own_.resize(body_.size());
  std::copy_n(body_.begin(), bytes_in_body, own_.begin());
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
  std::size_t mark = std::min(std::max(bytes, wanted_), kHighestMark);
  if (mark > DirectCopy::kEnvelope + kHead) mark = std::min(mark, most_to_gather(socket_));
  if (std::exchange(low_mark_, mark) != mark) {
    const auto value = static_cast<int>(mark);
    // On an error poll() returns sooner, and the available data is read.
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
  }
  return Found::nothing;
}

}  // namespace weir::pq
