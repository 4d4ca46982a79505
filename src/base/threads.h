#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

namespace weir {

/// Threads, their wait primitives, and their clock. The program uses the host's; the simulation in
/// tests/sim has others, one of which runs at a time, in an order determined by a seed, and with a
/// clock of its own. Code written against this interface runs in both.
class Threads {
 public:
  using Time = std::chrono::steady_clock::time_point;

  class Mutex {
   public:
    virtual ~Mutex() = default;
    virtual void lock() = 0;
    virtual void unlock() = 0;
  };
  using Lock = std::unique_lock<Mutex>;

  /// As std::condition_variable. A wait may end without a notification.
  class Condition {
   public:
    virtual ~Condition() = default;
    virtual void notify_one() = 0;
    virtual void notify_all() = 0;
    virtual void wait(Lock& lock) = 0;
    virtual void wait_until(Lock& lock, Time time) = 0;

    template <typename Predicate>
    void wait(Lock& lock, Predicate over) {
      while (!over()) wait(lock);
    }
  };

  class Thread {
   public:
    /// Joins, unless already joined.
    virtual ~Thread() = default;
    virtual void join() = 0;
  };

  enum class Priority {
    normal,
    low,  ///< below everything that is waited for
  };

  virtual ~Threads() = default;
  [[nodiscard]] virtual std::unique_ptr<Mutex> make_mutex() = 0;
  [[nodiscard]] virtual std::unique_ptr<Condition> make_condition() = 0;
  /// The simulation identifies a thread by its name. Throws std::system_error if no thread can be
  /// started.
  [[nodiscard]] virtual std::unique_ptr<Thread> start(std::string_view name,
                                                      std::function<void()> body,
                                                      Priority priority = Priority::normal) = 0;
  /// Lets others run who wait for the mutex that was just unlocked.
  virtual void yield() = 0;
  [[nodiscard]] virtual Time now() = 0;
};

/// The host's threads. Stateless.
[[nodiscard]] Threads& machine_threads();

}  // namespace weir
