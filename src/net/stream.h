#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "base/descriptor.h"
#include "net/wait.h"

namespace weir::net {

// A connected, non-blocking socket of bytes, without waiting.

/// Number of bytes sent: may be 0. nullopt if the other side has disconnected.
[[nodiscard]] std::optional<std::size_t> send_now(int socket, std::string_view bytes);
/// The same for several, consecutively; sixteen at most.
[[nodiscard]] std::optional<std::size_t> send_now(int socket,
                                                  std::span<const std::string_view> parts);
/// Number of bytes received: 0 if there are none yet. nullopt at the end of the stream, or after an
/// error.
[[nodiscard]] std::optional<std::size_t> receive_now(int socket, std::span<char> bytes);

/// Sends small messages at once, and detects eventually that the other host is gone.
void tune_connection(int socket);
/// Ends this side's data; data that the other side still sends can be read.
void end_sending(int socket);

/// A connection whose bytes are sent over a socket unchanged, or encoded. Never waits; owns the
/// socket, and closes it. One thread at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Number of bytes accepted; bytes accepted earlier are sent first. nullopt if the other side has
  /// disconnected.
  [[nodiscard]] virtual std::optional<std::size_t> send_now(std::string_view bytes) = 0;
  /// The same for several, consecutively.
  [[nodiscard]] virtual std::optional<std::size_t> send_parts(
      std::span<const std::string_view> parts) = 0;
  /// Number of bytes received. 0: there are no more until the socket is readable again. nullopt at
  /// the end, or after an error.
  [[nodiscard]] virtual std::optional<std::size_t> receive_now(std::span<char> bytes) = 0;
  /// True if accepted bytes are not sent yet: wait until the socket is writable, then call
  /// send_now().
  [[nodiscard]] virtual bool has_unsent() const = 0;
  /// For a poll() of one's own.
  [[nodiscard]] virtual int fd() const = 0;

 protected:
  Stream() = default;
};

/// As they are.
class PlainStream : public Stream {
 public:
  explicit PlainStream(Descriptor socket) : socket_(std::move(socket)) {}

  [[nodiscard]] std::optional<std::size_t> send_now(std::string_view bytes) override {
    return net::send_now(socket_.get(), bytes);
  }
  [[nodiscard]] std::optional<std::size_t> send_parts(
      std::span<const std::string_view> parts) override {
    return net::send_now(socket_.get(), parts);
  }
  [[nodiscard]] std::optional<std::size_t> receive_now(std::span<char> bytes) override {
    return net::receive_now(socket_.get(), bytes);
  }
  [[nodiscard]] bool has_unsent() const override { return false; }
  [[nodiscard]] int fd() const override { return socket_.get(); }
  /// For a different kind of stream that continues on the same socket.
  [[nodiscard]] Descriptor take_socket() { return std::move(socket_); }

 private:
  Descriptor socket_;
};

/// Sends all of it, and pending bytes. Returns false if the other side has disconnected, or does
/// not read until then.
[[nodiscard]] bool send_all(Stream& stream, std::string_view bytes, Deadline deadline);

}  // namespace weir::net
