#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "wire/copy_messages.h"

namespace weir::pq {

/// Reads CopyData messages from a libpq connection, bypassing libpq, which copies each one two or
/// three times (into its buffer, to the front of that, out of it). At high rates that is a third of
/// the cost of receiving. Here a message is read directly to its destination. TcpCopy and TlsCopy
/// implement it.
///
/// Only CopyData is read: all other messages are left to libpq, which may resume reading between
/// any two messages. One thread at a time. Owns nothing.
class DirectCopy {
 public:
  enum class Found {
    message,  ///< in head() and body()
    nothing,  ///< no complete message yet
    other,    ///< left to libpq: another message, or the end of the connection
    lost,     ///< the connection ended within a message
  };

  virtual ~DirectCopy() = default;
  DirectCopy(const DirectCopy&) = delete;
  DirectCopy& operator=(const DirectCopy&) = delete;

  /// Number of leading bytes of a message that are stored separately.
  static constexpr std::size_t kHead = wire::kXLogDataHead;
  /// Precedes each message: 'd' and the length, of itself and the rest.
  static constexpr std::size_t kEnvelope = 1 + 4;

  /// Reads the next message. The bytes after its head are stored in `place` if they fit (the rest
  /// of `place` is unchanged). Throws Error{protocol} for an invalid or too large one.
  virtual Found next(std::span<std::byte> place) = 0;
  /// The parts of next()'s message: valid until its next call (a body in `place`: as long as that).
  [[nodiscard]] std::span<const std::byte> head() const;
  [[nodiscard]] std::span<const std::byte> body() const { return body_; }
  /// The memory of body(), for a caller that needs it longer; empty if the body is in a `place`.
  [[nodiscard]] std::vector<std::byte> release_body();
  /// The size of the whole message, including its envelope.
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Part of a message was read and the rest has not arrived: libpq must not read.
  [[nodiscard]] bool within_message() const { return taken_ != 0; }

  /// Sets the number of unread bytes at which poll() reports the socket as readable; initially 1. A
  /// message of which a part has arrived may raise it to the message's size. So a poll() for more
  /// than the next message needs a timeout.
  void gather(std::size_t bytes);

 protected:
  /// Does not block; `largest` is the maximum size of a message after its head.
  DirectCopy(int socket, std::size_t largest) : socket_(socket), largest_(largest) {}

  /// Sets size_ and front_size_ from the envelope in front_.
  void measure_message();
  void choose_body(std::span<std::byte> place);
  /// Saves an incomplete body, since `place` may be invalid at the next call.
  void leave_place(std::size_t bytes_in_body);
  Found leave(std::size_t bytes);

  const int socket_;
  std::array<std::byte, kEnvelope + kHead> front_{};
  std::size_t size_ = 0;
  std::size_t front_size_ = 0;
  std::size_t taken_ = 0;  ///< bytes read of the message; 0: not started
  std::span<std::byte> body_;

 private:
  const std::size_t largest_;
  std::size_t wanted_ = 1;
  std::size_t low_mark_ = 1;    ///< SO_RCVLOWAT
  std::vector<std::byte> own_;  ///< for a body without a place
};

}  // namespace weir::pq
