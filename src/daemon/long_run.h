#pragma once

#include <optional>
#include <string>

#include "base/log.h"
#include "daemon/logger.h"
#include "daemon/screen.h"
#include "daemon/signals.h"

namespace weir::daemon {

/// The start and end of a long-running program, in this order: a broken pipe is reported by the
/// write, signals are handled before there is a second thread, the log gets its thread, and the end
/// does not wait for a write that hangs. Must be created before any other thread.
class LongRun {
 public:
  struct LogSettings {
    LogLevel level = LogLevel::info;
    std::optional<std::string> file{};
    std::string program{};  ///< as Logger's
    LogFormat format = LogFormat::text;
  };
  explicit LongRun(LogSettings settings);

  [[nodiscard]] Screen& screen() { return screen_; }
  [[nodiscard]] Logger& log() { return log_; }

  /// Signals are handled during its lifetime. Must be created after the objects that its handlers
  /// use.
  class Handling {
   public:
    explicit Handling(Signals& signals) : signals_(signals) {}
    ~Handling() { signals_.stop(); }
    Handling(const Handling&) = delete;
    Handling& operator=(const Handling&) = delete;

   private:
    Signals& signals_;
  };
  /// Signals received since the start are handled, too. Call it once. A second signal that ends the
  /// process is reported on the screen, unless the handlers are patient.
  [[nodiscard]] Handling handle(Signals::Handlers handlers);

  /// The last call: writes the remaining log, for two seconds at most. A thread that hangs in a
  /// write cannot be joined: then the process exits here, with this status. Returns the status.
  int end(int status);

 private:
  Signals signals_;
  Screen screen_;
  Logger log_;
};

}  // namespace weir::daemon
