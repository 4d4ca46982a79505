#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "relay/walsender_state.h"

namespace weir::relay {

/// Reads and writes the bytes of one client, and provides waiting and a clock for its session: a
/// socket in the program (session.cc); the simulation in tests/sim has another implementation. One
/// thread, except for wake().
class Connection {
 public:
  virtual ~Connection() = default;

  // As those of net::Stream.
  [[nodiscard]] virtual std::optional<std::size_t> send_now(std::string_view bytes) = 0;
  [[nodiscard]] virtual std::optional<std::size_t> send_parts(
      std::span<const std::string_view> parts) {
    std::size_t all = 0;
    for (const auto part : parts) {
      const auto sent = send_now(part);
      if (!sent) return std::nullopt;
      all += *sent;
      if (*sent < part.size()) break;
    }
    return all;
  }
  [[nodiscard]] virtual std::optional<std::size_t> receive_now(std::span<char> bytes) = 0;
  [[nodiscard]] virtual bool has_unsent() const = 0;
  /// Sends the final message to a client that may not read it.
  virtual void send_last(std::string_view bytes) = 0;

  /// Waits until bytes can be received, or sent (as requested), until wake() or `until`.
  virtual void wait(bool receives, bool sends, std::optional<WalsenderState::Time> until) = 0;
  /// Ends the current or the next wait, unless clear_wake() is called before it. Any thread.
  virtual void wake() noexcept = 0;
  virtual void clear_wake() noexcept = 0;
  [[nodiscard]] virtual WalsenderState::Now now() = 0;
};

}  // namespace weir::relay
