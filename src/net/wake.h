#pragma once

#include "base/descriptor.h"

namespace weir::net {

/// Wakes a thread that waits for a socket, a file or a time: an eventfd. raise() may be called from
/// any thread and from a signal handler; it stays raised until clear().
class Wake {
 public:
  Wake();
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;

  void raise() noexcept;
  void clear() noexcept;
  [[nodiscard]] bool raised() const noexcept;
  /// Can be read while it is raised.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Descriptor fd_;
};

/// Thrown if a wait ended because the Wake was raised; not an error to be shown.
struct Interrupted {};

}  // namespace weir::net
