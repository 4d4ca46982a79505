#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"

namespace weir::pq {

/// How much of one message may pile up inside libpq, which takes up to 1 GB before it lets anybody
/// see it. PostgreSQL's own are far smaller; a server is not to be trusted with our memory.
/// Counts what TCP delivered, which other kinds of sockets do not tell: who listens on a local one
/// is on this machine already. It is looked at between libpq's reads: a sender that is quicker than
/// those can still have its one message read. Not for several threads at once.
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
