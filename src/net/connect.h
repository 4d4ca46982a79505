#pragma once

#include "base/descriptor.h"
#include "net/listener.h"
#include "net/wait.h"

namespace weir::net {

struct Connected {
  Descriptor socket;  ///< non-blocking; empty if it did not come about
  int code = 0;       ///< then the system's error number; ETIMEDOUT at the deadline
};
/// Connects. That nobody listens is no error here: the caller knows what it means. Where the other
/// side's queue is full (many connect at once, or it hangs), it is waited for. Throws Error{io} if
/// there can be no socket.
[[nodiscard]] Connected connect(const Address& address, Kind kind, Deadline deadline);

}  // namespace weir::net
