#pragma once

#include <cstddef>
#include <span>

#include "base/descriptor.h"

namespace weir::net {

/// Sends one packet with a descriptor (SCM_RIGHTS): the receiver gets one for the same open file.
/// For a Unix socket with packets; does not wait. Returns false if it could not be sent.
bool send_packet(int socket, std::span<const std::byte> bytes, int descriptor = -1);

struct Packet {
  std::size_t size = 0;   ///< 0: the other side has disconnected
  Descriptor descriptor;  ///< empty if none was sent
};
/// The next packet into `bytes`; waits for it on a blocking socket.
[[nodiscard]] Packet receive_packet(int socket, std::span<std::byte> bytes);

}  // namespace weir::net
