#pragma once

#include <functional>
#include <thread>

#include "base/descriptor.h"
#include "net/wake.h"

namespace weir::cli {

/// The signals of a receiver, taken by a thread of its own. To be made before any other thread:
/// the signals are blocked in the maker, and threads inherit that. SIGPIPE is ignored. A signal
/// that was ignored when the program began (nohup) stays so.
class Signals {
 public:
  struct Handlers {
    std::function<void()> stop;    ///< the first SIGTERM or SIGINT
    std::function<void()> reload;  ///< SIGHUP
    std::function<void()> leave;   ///< before the second one ends the process, with status 3;
                                   ///< within half a second of the first it is the same one
    bool patient = false;          ///< further signals to stop are without effect
  };

  Signals();
  /// stop(). The signals stay blocked: the program is about to end.
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Begins to act on signals, those that came meanwhile included. Once.
  void start(Handlers handlers);
  /// Ends the thread: no handler runs any more.
  void stop();

 private:
  void work(const Handlers& handlers);

  Descriptor fd_;
  net::Wake end_;
  std::thread thread_;
};

}  // namespace weir::cli
