#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "wire/backend_messages.h"

namespace weir::wire {

// A client's messages: the packet that starts a connection, and the messages after it. Pure:
// accepts any bytes, in pieces; never reads past their end.

/// MAX_STARTUP_PACKET_LENGTH (libpq/pqcomm.h), without the length itself.
inline constexpr std::size_t kMaxStartupPacket = 10000;
/// The supported protocol: 3.0.
inline constexpr std::uint32_t kProtocolVersion = 3u << 16;

/// More bytes are needed.
struct Incomplete {};
struct SslRequest {};
struct GssRequest {};
/// The BackendKeyData of the session to cancel.
struct CancelRequest {
  std::uint32_t process = 0;
  std::uint32_t secret = 0;
};
/// The startup packet: user, database and parameters.
struct Startup {
  std::uint32_t version = 0;
  /// In order; if a name is repeated, the last one counts.
  std::vector<std::pair<std::string, std::string>> parameters;

  /// Empty if there is none.
  [[nodiscard]] std::string_view parameter(std::string_view name) const;
  /// Names that start with "_pq_.": requested protocol options.
  [[nodiscard]] std::vector<std::string> protocol_options() const;
};
/// An ErrorReport without an SQLSTATE means that the client may not even use this protocol, and
/// gets no answer (ProcessStartupPacket in postmaster.c).
using StartupPacket =
    std::variant<Incomplete, SslRequest, GssRequest, CancelRequest, Startup, ErrorReport>;
struct StartupRead {
  StartupPacket packet;
  std::size_t size = 0;  ///< bytes consumed; 0 while incomplete
};
[[nodiscard]] StartupRead read_startup(std::span<const std::byte> bytes);

/// A message with type and length, like all after the startup packet.
struct ClientMessage {
  char type = 0;
  std::span<const std::byte> body;
  std::size_t size = 0;  ///< including type and length

  [[nodiscard]] std::string_view text() const {
    return {reinterpret_cast<const char*>(body.data()), body.size()};
  }
};
/// ErrorReport: the message is invalid, or its body would have more than `most` bytes, which are
/// not waited for.
using ClientMessageRead = std::variant<Incomplete, ClientMessage, ErrorReport>;
[[nodiscard]] ClientMessageRead read_client_message(std::span<const std::byte> bytes,
                                                    std::size_t most);

}  // namespace weir::wire
