#pragma once

#include <functional>
#include <thread>

#include "base/descriptor.h"
#include "net/wake.h"

namespace weir::daemon {

/// The signals of a command, handled by a thread of its own. Must be created before any other
/// thread: the signals are blocked in the creating thread, and other threads inherit that.
class Signals {
 public:
  struct Handlers {
    std::function<void()> stop;  ///< the first SIGTERM or SIGINT
    /// SIGHUP. Empty: it requests a stop, too, unless it was ignored when the program started
    /// (nohup).
    std::function<void()> reload;
    std::function<void()> leave;  ///< before the second one ends the process, with status 3; within
                                  ///< half a second of the first it is the same one
    bool patient = false;         ///< further signals to stop are without effect
  };

  Signals();
  /// Calls stop(). The signals stay blocked: the program is about to exit.
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Starts to handle signals, including those received meanwhile. Call it once.
  void start(Handlers handlers);
  /// Ends the thread: no handler runs any more.
  void stop();

 private:
  void work(const Handlers& handlers);

  Descriptor fd_;
  bool hangup_ignored_ = false;
  net::Wake end_;
  std::thread thread_;
};

/// True if a signal to stop waits for the thread that handles signals: for a handler of SIGHUP that
/// takes long.
[[nodiscard]] bool stop_is_pending();

/// For programs that write to sockets and pipes for a long time: the write reports that the reader
/// has closed it.
void ignore_broken_pipes();

}  // namespace weir::daemon
