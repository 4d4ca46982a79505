#pragma once

#include <atomic>

#include "daemon/signals.h"

namespace weir::daemon {

/// For a command that works through a lot of files: the first SIGTERM, SIGINT or SIGHUP asks it to
/// stop at the next good place, the second one ends the process. To be made before the first
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
