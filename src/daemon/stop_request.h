#pragma once

#include <atomic>

#include "daemon/signals.h"

namespace weir::daemon {

/// For a command that processes many files: the first SIGTERM, SIGINT or SIGHUP requests it to stop
/// at the next suitable place, the second one ends the process. Must be created before the first
/// thread.
class StopRequest {
 public:
  StopRequest();

  [[nodiscard]] bool made() const { return made_; }

 private:
  std::atomic<bool> made_ = false;
  Signals signals_;  ///< the last: its thread uses the flag
};

}  // namespace weir::daemon
