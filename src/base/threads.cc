#include "base/threads.h"

#include <condition_variable>
#include <thread>
#include <utility>

#include "base/priority.h"

namespace weir {

namespace {

class MachineMutex final : public Threads::Mutex {
 public:
  void lock() override { mutex_.lock(); }
  void unlock() override { mutex_.unlock(); }
  std::mutex& real() { return mutex_; }

 private:
  std::mutex mutex_;
};

/// Waits on the mutex itself: condition_variable_any would add a second one.
class MachineCondition final : public Threads::Condition {
 public:
  void notify_one() override { condition_.notify_one(); }
  void notify_all() override { condition_.notify_all(); }
  void wait(Threads::Lock& lock) override {
    std::unique_lock real(static_cast<MachineMutex&>(*lock.mutex()).real(), std::adopt_lock);
    condition_.wait(real);
    static_cast<void>(real.release());
  }
  void wait_until(Threads::Lock& lock, Threads::Time time) override {
    std::unique_lock real(static_cast<MachineMutex&>(*lock.mutex()).real(), std::adopt_lock);
    condition_.wait_until(real, time);
    static_cast<void>(real.release());
  }

 private:
  std::condition_variable condition_;
};

class MachineThread final : public Threads::Thread {
 public:
  MachineThread(std::function<void()> body, Threads::Priority priority)
      : thread_([body = std::move(body), priority] {
          if (priority == Threads::Priority::low) lower_priority();
          body();
        }) {}
  ~MachineThread() override {
    if (thread_.joinable()) thread_.join();
  }
  void join() override { thread_.join(); }

 private:
  std::thread thread_;
};

class MachineThreads final : public Threads {
 public:
  std::unique_ptr<Mutex> make_mutex() override { return std::make_unique<MachineMutex>(); }
  std::unique_ptr<Condition> make_condition() override {
    return std::make_unique<MachineCondition>();
  }
  std::unique_ptr<Thread> start(std::string_view, std::function<void()> body,
                                Priority priority) override {
    return std::make_unique<MachineThread>(std::move(body), priority);
  }
  void yield() override { std::this_thread::yield(); }
  Time now() override { return std::chrono::steady_clock::now(); }
};

}  // namespace

Threads& machine_threads() {
  static MachineThreads threads;
  return threads;
}

}  // namespace weir
