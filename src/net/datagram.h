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
  /// `no_room`: the receiver's queue is full. `nobody`: there is no receiver, or it is unreachable.
  [[nodiscard]] Sent send(std::string_view message) const;

 private:
  Address to_;
  Descriptor socket_;
};

}  // namespace weir::net
