#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"

namespace weir::pq {

/// Limits how much of one message may accumulate inside libpq, which accepts up to 1 GB before it
/// returns any of it. PostgreSQL's messages are far smaller; a server must not be able to exhaust
/// our memory. Counts the bytes that TCP delivered. Other kinds of sockets do not report that, but
/// a server on a local socket is on this host anyway. The count is checked between libpq's reads,
/// so a fast sender can still get one large message read. One thread at a time.
class MessageBound {
 public:
  /// A message was complete: the count restarts.
  void complete() { incomplete_ = 0; }
  /// Everything available on the socket (or -1) was read, and no message is complete. Throws
  /// Error{protocol} if that is too much.
  void incomplete(int socket);

 private:
  int incomplete_ = 0;                  ///< consecutive checks without a complete message
  std::optional<std::uint64_t> begun_;  ///< upper bound of the bytes read before it
};

}  // namespace weir::pq
