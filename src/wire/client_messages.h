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

// What a client says: the packet that begins a connection, and the messages behind it. Pure: any
// bytes may be given, in pieces; none are read past their end.

/// MAX_STARTUP_PACKET_LENGTH (libpq/pqcomm.h), without the length itself.
inline constexpr std::size_t kMaxStartupPacket = 10000;
/// The protocol that is spoken: 3.0.
inline constexpr std::uint32_t kProtocolVersion = 3u << 16;

/// There are too few bytes yet.
struct Incomplete {};
struct SslRequest {};
struct GssRequest {};
/// What another session was given by BackendKeyData.
struct CancelRequest {
  std::uint32_t process = 0;
  std::uint32_t secret = 0;
};
/// Who connects, and for what.
struct Startup {
  std::uint32_t version = 0;
  /// As they came; of two with one name the later one counts.
  std::vector<std::pair<std::string, std::string>> parameters;

  /// Empty if there is none.
  [[nodiscard]] std::string_view parameter(std::string_view name) const;
  /// Names of those that begin with "_pq_.": wishes about the protocol itself.
  [[nodiscard]] std::vector<std::string> protocol_options() const;
};
/// An ErrorReport without an SQLSTATE is of one who may not even speak this protocol, and who gets
/// no answer (ProcessStartupPacket in postmaster.c).
using StartupPacket =
    std::variant<Incomplete, SslRequest, GssRequest, CancelRequest, Startup, ErrorReport>;
struct StartupRead {
  StartupPacket packet;
  std::size_t size = 0;  ///< bytes that it took; 0 while incomplete
};
[[nodiscard]] StartupRead read_startup(std::span<const std::byte> bytes);

/// A message of a type and a length, as all are behind the startup packet.
struct ClientMessage {
  char type = 0;
  std::span<const std::byte> body;
  std::size_t size = 0;  ///< with type and length

  [[nodiscard]] std::string_view text() const {
    return {reinterpret_cast<const char*>(body.data()), body.size()};
  }
};
/// ErrorReport: it cannot be, or its body would have more than `most` bytes. What it would hold is
/// not waited for.
using ClientMessageRead = std::variant<Incomplete, ClientMessage, ErrorReport>;
[[nodiscard]] ClientMessageRead read_client_message(std::span<const std::byte> bytes,
                                                    std::size_t most);

}  // namespace weir::wire
