#pragma once

#include <mutex>

#include "base/log.h"
#include "cli/runtime/progress.h"
#include "daemon/screen.h"

namespace weir::cli {

/// Receives the ticks of a session and shows its progress: as the live line on a terminal,
/// otherwise as a log line every minute if something moved. Never blocks. Any thread.
class ProgressLine {
 public:
  ProgressLine(daemon::Screen& screen, Log& log);

  /// Interval of the required ticks; earlier ones are ignored.
  [[nodiscard]] std::chrono::milliseconds interval() const;
  void tick(const receive::StreamSnapshot& snapshot, receive::Time now);

 private:
  daemon::Screen& screen_;
  Log& log_;
  std::mutex mutex_;
  ProgressMeter meter_;
  std::optional<receive::StreamSnapshot> shown_;
  receive::Time shown_time_;
  receive::Time due_{};
};

}  // namespace weir::cli
