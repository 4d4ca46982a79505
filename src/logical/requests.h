#pragma once

#include <atomic>

#include "net/wake.h"

namespace weir::logical {

/// Requests to a stream from outside, for example by signals: to stop, and to reopen its output.
/// Any thread may make a request, the rest is for the stream's thread.
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

  /// Raised once a stop was requested.
  [[nodiscard]] const net::Wake& stop_wake() const { return stop_; }
  /// Raised for either.
  [[nodiscard]] const net::Wake& any() const { return any_; }
  [[nodiscard]] bool stopped() const { return stop_.raised(); }
  /// Returns whether the output must be reopened; clears the request.
  [[nodiscard]] bool take_reopen() {
    // Cleared first: a request made meanwhile is seen now or at the next call.
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
