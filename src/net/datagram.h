#pragma once

#include <string_view>

#include "base/descriptor.h"
#include "net/address.h"

namespace weir::net {

/// Sends datagrams to a local socket, and never waits for its reader. Any thread.
class DatagramSender {
 public:
  /// Throws Error{io} if there can be no socket.
  explicit DatagramSender(const Address& to);

  enum class Sent { yes, no_room, nobody };
  /// `no_room`: the reader is behind. `nobody`: none is there, or it cannot be reached.
  [[nodiscard]] Sent send(std::string_view message) const;

 private:
  Address to_;
  Descriptor socket_;
};

}  // namespace weir::net
