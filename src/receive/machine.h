#pragma once

#include <poll.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>

#include "base/threads.h"
#include "io/memory_limit.h"
#include "receive/flush_policy.h"

namespace weir::receive {

/// Ends a poll() of another thread: the machine's counterpart of net::Wake. Any thread.
class WakeUp {
 public:
  virtual ~WakeUp() = default;
  virtual void raise() noexcept = 0;
  virtual void clear() noexcept = 0;
  [[nodiscard]] virtual int fd() const = 0;  ///< for Machine::poll()
};

/// The receiver's interface to its host, except for its archive directory and its servers. A
/// simulation replaces it.
class Machine {
 public:
  virtual ~Machine() = default;
  [[nodiscard]] virtual Threads& threads() = 0;
  [[nodiscard]] Time now() { return threads().now(); }
  [[nodiscard]] virtual std::chrono::system_clock::time_point wall_clock() = 0;
  [[nodiscard]] virtual std::unique_ptr<WakeUp> make_wake_up() = 0;
  /// Like ppoll(), for descriptors of this machine or its servers, until `deadline`; indefinitely
  /// if there is none.
  virtual void poll(std::span<pollfd> fds, std::optional<Time> deadline) = 0;
  /// The memory limit of this process.
  [[nodiscard]] virtual std::optional<io::MemoryLimit> memory_limit() = 0;
  /// Number of threads that can run at once, at least 1.
  [[nodiscard]] virtual unsigned processors() = 0;
  /// See io::run_delay().
  [[nodiscard]] virtual std::chrono::nanoseconds run_delay() = 0;
  /// Little work is expected for a while.
  virtual void release_memory() = 0;
};

/// The actual host. Stateless.
[[nodiscard]] Machine& this_machine();

/// Returns true once `fd` is raised; false after `time`.
bool raised_within(Machine& machine, int fd, std::chrono::milliseconds time);

}  // namespace weir::receive
