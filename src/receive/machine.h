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

/// Ends a poll() of another thread: what net::Wake is, on the machine that it belongs to. Any
/// thread.
class WakeUp {
 public:
  virtual ~WakeUp() = default;
  virtual void raise() noexcept = 0;
  virtual void clear() noexcept = 0;
  [[nodiscard]] virtual int fd() const = 0;  ///< for Machine::poll()
};

/// What a receiver has of the machine that it runs on, beside its archive's directory and its
/// servers. With another one it runs in a simulation.
class Machine {
 public:
  virtual ~Machine() = default;
  [[nodiscard]] virtual Threads& threads() = 0;
  [[nodiscard]] Time now() { return threads().now(); }
  [[nodiscard]] virtual std::chrono::system_clock::time_point wall_clock() = 0;
  [[nodiscard]] virtual std::unique_ptr<WakeUp> make_wake_up() = 0;
  /// As ppoll(), of descriptors that this machine or its servers gave out, until `deadline`;
  /// without end if there is none.
  virtual void poll(std::span<pollfd> fds, std::optional<Time> deadline) = 0;
  /// What this process is allowed.
  [[nodiscard]] virtual std::optional<io::MemoryLimit> memory_limit() = 0;
  /// So many threads have something to run on at once. At least 1.
  [[nodiscard]] virtual unsigned processors() = 0;
  /// There will be little to do for a while. `first`: since there was much.
  virtual void release_memory(bool first) = 0;
};

/// The one that the program runs on. Stateless.
[[nodiscard]] Machine& this_machine();

/// True once `fd` is raised; false when `time` has passed.
bool raised_within(Machine& machine, int fd, std::chrono::milliseconds time);

}  // namespace weir::receive
