#pragma once

#include "base/descriptor.h"
#include "net/listener.h"
#include "net/wait.h"

namespace weir::net {

struct Connected {
  Descriptor socket;  ///< non-blocking; empty if the connection failed
  int code = 0;       ///< then the system's error number; ETIMEDOUT at the deadline
};
/// Connects. If there is no listener, this is not an error here: the caller decides. If the other
/// side's queue is full (many clients connect at once, or it hangs), the call waits. Throws
/// Error{io} if no socket can be created.
[[nodiscard]] Connected connect(const Address& address, Kind kind, Deadline deadline);

}  // namespace weir::net
