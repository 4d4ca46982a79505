#pragma once

#include <atomic>

#include "net/wake.h"

namespace weir::logical {

/// What is asked of a stream from outside, as by signals: to stop, and to open its output anew. The
/// asking is any thread's, the rest the stream's.
class Requests {
 public:
  void stop() {
    stop_.raise();
    any_.raise();
  }
  void reopen() {
    reopen_ = true;
    any_.raise();
  }

  /// Raised once it is to stop.
  [[nodiscard]] const net::Wake& stop_wake() const { return stop_; }
  /// Raised for either.
  [[nodiscard]] const net::Wake& any() const { return any_; }
  [[nodiscard]] bool stopped() const { return stop_.raised(); }
  /// Whether the output is to be opened anew; asks and clears.
  [[nodiscard]] bool take_reopen() {
    // Cleared first: who asks in between is heard now or the next time.
    any_.clear();
    if (stop_.raised()) any_.raise();
    return reopen_.exchange(false);
  }

 private:
  net::Wake stop_;
  net::Wake any_;
  std::atomic<bool> reopen_ = false;
};

}  // namespace weir::logical
