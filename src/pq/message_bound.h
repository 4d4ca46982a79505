#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"

namespace weir::pq {

/// How much of one message may pile up inside libpq, which takes up to 1 GB before it lets anybody
/// see it. PostgreSQL's own are far smaller; a server is not to be trusted with our memory.
/// Counts what TCP delivered. Other kinds of sockets do not tell that; a server on a local socket
/// is on this machine already. The count is checked between libpq's reads, so a sender that is
/// quicker than those can still get one large message read. One thread at a time.
class MessageBound {
 public:
  /// A message was complete: the count begins anew.
  void complete() { incomplete_ = 0; }
  /// What the socket (or -1) had was read, and no message is complete. Throws Error{protocol} when
  /// there is too much of it.
  void incomplete(int socket);

 private:
  int incomplete_ = 0;                  ///< looks in a row that found no complete message
  std::optional<std::uint64_t> begun_;  ///< bytes that were read before it, or more
};

}  // namespace weir::pq
