#include "sim_machine.h"

#include <poll.h>

#include <array>

#include "sim_wake.h"

namespace weir::sim {

using receive::Time;

class SimMachine::SimWake final : public receive::WakeUp, public Pollable {
 public:
  explicit SimWake(SimMachine& machine) : machine_(machine), fd_(machine.add(*this)) {}
  ~SimWake() override { machine_.remove(fd_); }
  void raise() noexcept override { raised_ = true; }
  void clear() noexcept override { raised_ = false; }
  int fd() const override { return fd_; }
  short ready(short events) override {
    return raised_ ? static_cast<short>(events & POLLIN) : short{0};
  }

 private:
  SimMachine& machine_;
  const int fd_;
  bool raised_ = false;
};

/// One call of poll().
class SimMachine::Poll final : public Scheduler::Ready {
 public:
  Poll(SimMachine& machine, std::span<pollfd> fds) : fds_(fds) {
    for (std::size_t i = 0; i < fds.size(); ++i) {
      fds[i].revents = 0;
      if (fds[i].fd < 0) continue;
      // (What the simulation does not know is a net::Wake of the program's own.)
      const auto found = machine.pollables_.find(fds[i].fd);
      if (found != machine.pollables_.end())
        pollables_[i] = found->second;
      else
        wakes_[i] = true;
    }
  }
  bool ready() override {
    bool any = false;
    for (std::size_t i = 0; i < fds_.size(); ++i) {
      if (wakes_[i])
        fds_[i].revents =
            is_raised(fds_[i].fd) ? static_cast<short>(fds_[i].events & POLLIN) : short{0};
      else if (pollables_[i] != nullptr)
        fds_[i].revents = pollables_[i]->ready(fds_[i].events);
      any = any || fds_[i].revents != 0;
    }
    return any;
  }

 private:
  const std::span<pollfd> fds_;
  std::array<Pollable*, 4> pollables_{};
  std::array<bool, 4> wakes_{};
};

std::chrono::system_clock::time_point SimMachine::wall_clock() {
  constexpr std::chrono::seconds kSomeDay(1'700'000'000);
  return std::chrono::system_clock::time_point(kSomeDay) +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(story_.now - kTimeZero);
}

std::unique_ptr<receive::WakeUp> SimMachine::make_wake_up() {
  return std::make_unique<SimWake>(*this);
}

int SimMachine::add(Pollable& pollable) {
  add(next_, pollable);
  return next_++;
}

void SimMachine::poll(std::span<pollfd> fds, std::optional<Time> deadline) {
  Poll poll(*this, fds);
  if (deadline && *deadline <= story_.now) {
    static_cast<void>(poll.ready());
    scheduler_.pause();
    return;
  }
  scheduler_.wait(&poll, deadline);
  // As it is by now: what made it ready may be over, and more may have come.
  static_cast<void>(poll.ready());
}

}  // namespace weir::sim
