#pragma once

#include <atomic>

#include "daemon/signals.h"
#include "net/wake.h"

namespace weir::daemon {

/// For a command that processes many files: the first SIGTERM, SIGINT or SIGHUP requests it to stop
/// at the next suitable place, the second one ends the process. Must be created before the first
/// thread.
class StopRequest {
 public:
  StopRequest();

  [[nodiscard]] bool made() const { return made_; }
  /// Raised with it, for calls that wait.
  [[nodiscard]] const net::Wake& wake() const { return wake_; }

 private:
  std::atomic<bool> made_ = false;
  net::Wake wake_;
  Signals signals_;  ///< the last: its thread uses the others
};

}  // namespace weir::daemon
