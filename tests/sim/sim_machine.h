#pragma once

#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>

#include "receive/machine.h"
#include "scheduler.h"

namespace weir::sim {

/// Something whose descriptor can be polled.
class Pollable {
 public:
  virtual ~Pollable() = default;
  /// What of `events` (POLLIN, POLLOUT) can be had now.
  [[nodiscard]] virtual short ready(short events) = 0;
};

/// The machine of one process of the receiver. Descriptors are numbers that it gives out.
class SimMachine final : public receive::Machine {
 public:
  SimMachine(Scheduler& scheduler, Story& story) : scheduler_(scheduler), story_(story) {}

  Threads& threads() override { return scheduler_; }
  std::chrono::system_clock::time_point wall_clock() override;
  std::unique_ptr<receive::WakeUp> make_wake_up() override;
  void poll(std::span<pollfd> fds, std::optional<receive::Time> deadline) override;
  std::optional<io::MemoryLimit> memory_limit() override { return limit_; }
  unsigned processors() override { return 2; }
  std::chrono::nanoseconds run_delay() override { return {}; }
  void release_memory() override {
    if (exhausted_) throw std::bad_alloc();
  }

  /// Its descriptor, as long as it is not removed.
  int add(Pollable& pollable);
  void add(int fd, Pollable& pollable) { pollables_[fd] = &pollable; }
  void remove(int fd) { pollables_.erase(fd); }
  void set_memory_limit(io::MemoryLimit limit) { limit_ = std::move(limit); }
  /// The thread that releases memory gets none.
  void exhaust_memory() { exhausted_ = true; }

 private:
  class SimWake;
  class Poll;

  Scheduler& scheduler_;
  Story& story_;
  std::map<int, Pollable*> pollables_;
  int next_ = 1'000'000;  // no real descriptor
  std::optional<io::MemoryLimit> limit_;
  bool exhausted_ = false;
};

}  // namespace weir::sim
