#include "receive/machine.h"

#include <algorithm>

#include "io/pages.h"
#include "io/processor_limit.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

class MachineWake final : public WakeUp {
 public:
  void raise() noexcept override { interrupt_.raise(); }
  void clear() noexcept override { interrupt_.clear(); }
  int fd() const override { return interrupt_.fd(); }

 private:
  net::Wake interrupt_;
};

class ThisMachine final : public Machine {
 public:
  Threads& threads() override { return machine_threads(); }
  std::chrono::system_clock::time_point wall_clock() override {
    return std::chrono::system_clock::now();
  }
  std::unique_ptr<WakeUp> make_wake_up() override { return std::make_unique<MachineWake>(); }

  void poll(std::span<pollfd> fds, std::optional<Time> deadline) override {
    timespec left{};
    if (const auto begin = now(); deadline && *deadline > begin) {
      const std::chrono::nanoseconds ns = std::min<Time::duration>(*deadline - begin, 1h);
      const auto seconds = std::chrono::floor<std::chrono::seconds>(ns);
      left = {.tv_sec = seconds.count(), .tv_nsec = (ns - seconds).count()};
    }
    ::ppoll(fds.data(), fds.size(), deadline ? &left : nullptr, nullptr);
  }

  std::optional<io::MemoryLimit> memory_limit() override { return io::memory_limit(); }

  unsigned processors() override { return io::worthwhile_threads(); }

  std::chrono::nanoseconds run_delay() override { return io::run_delay(); }

  void release_memory() override {
    io::release_unused_memory();
    io::release_program();
  }
};

}  // namespace

Machine& this_machine() {
  static ThisMachine machine;
  return machine;
}

bool raised_within(Machine& machine, int fd, std::chrono::milliseconds time) {
  pollfd one{fd, POLLIN, 0};
  machine.poll({&one, 1}, machine.now() + time);
  return one.revents != 0;
}

}  // namespace weir::receive
