#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "wire/copy_messages.h"

namespace weir::pq {

/// Takes CopyData messages from a connection of libpq's without libpq: it copies each one twice or
/// three times on the way (into its buffer, to the front of that, out of it), and while there is
/// much to be received that is a third of what receiving costs. Here a message comes to where it is
/// wanted at once. TcpCopy and TlsCopy say how.
///
/// Only CopyData is taken: all other messages are libpq's, which may read on at any time between
/// two messages. One thread at a time. Owns nothing.
class DirectCopy {
 public:
  enum class Found {
    message,  ///< head() and body() have it
    nothing,  ///< no whole message yet
    other,    ///< what comes next is for libpq: another message, or the connection's end
    lost,     ///< the connection ended within a message
  };

  virtual ~DirectCopy() = default;
  DirectCopy(const DirectCopy&) = delete;
  DirectCopy& operator=(const DirectCopy&) = delete;

  /// The first bytes of a message that are kept apart from the others.
  static constexpr std::size_t kHead = wire::kXLogDataHead;
  /// In front of each: 'd' and the length, of itself and the rest.
  static constexpr std::size_t kEnvelope = 1 + 4;

  /// Takes the next message. What follows its head comes into `place` if there is room for it (what
  /// is behind in `place` stays). Throws Error{protocol} for an impossible or too large one.
  virtual Found next(std::span<std::byte> place) = 0;
  /// Of the message that next() took: valid until it is called again (a body in `place`: as that).
  [[nodiscard]] std::span<const std::byte> head() const;
  [[nodiscard]] std::span<const std::byte> body() const { return body_; }
  /// The memory of body(), for a caller that needs the body longer; empty if the body came into a
  /// place.
  [[nodiscard]] std::vector<std::byte> release_body();
  /// Of all of the message, its envelope included.
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Part of a message was taken and the rest has not come: libpq must not read.
  [[nodiscard]] bool within_message() const { return taken_ != 0; }

  /// The number of unread bytes from which on poll() reports the socket as readable; 1 at first. A
  /// message of which a part has arrived may raise the number to its size. So a poll() that waits
  /// for more than the next message needs a deadline.
  void gather(std::size_t bytes);

 protected:
  /// Not blocking; `largest` is the most that a message may have behind its head.
  DirectCopy(int socket, std::size_t largest) : socket_(socket), largest_(largest) {}

  /// By the envelope in front_: size_ and front_size_.
  void measure_message();
  void choose_body(std::span<std::byte> place);
  /// The body is not all there, and by the next call `place` may be gone.
  void leave_place(std::size_t bytes_in_body);
  Found leave(std::size_t bytes);

  const int socket_;
  std::array<std::byte, kEnvelope + kHead> front_{};
  std::size_t size_ = 0;
  std::size_t front_size_ = 0;
  std::size_t taken_ = 0;  ///< bytes of the message; 0: not begun
  std::span<std::byte> body_;

 private:
  const std::size_t largest_;
  std::size_t wanted_ = 1;
  std::size_t low_mark_ = 1;    ///< SO_RCVLOWAT
  std::vector<std::byte> own_;  ///< for a body without a place
};

}  // namespace weir::pq
