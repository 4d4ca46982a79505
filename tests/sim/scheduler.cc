#include "scheduler.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"
#include "support/sim_disk.h"

namespace weir::sim {

class Scheduler::SimMutex final : public Threads::Mutex {
 public:
  explicit SimMutex(Scheduler& scheduler) : scheduler_(scheduler) {}
  void lock() override;
  void unlock() override { locked_ = false; }
  [[nodiscard]] bool locked() const { return locked_; }

 private:
  Scheduler& scheduler_;
  bool locked_ = false;
};

struct Scheduler::Task : std::enable_shared_from_this<Task> {
  std::string name;
  std::unique_ptr<Fiber> fiber;
  bool active = false;  ///< it runs, or has resumed the one that does

  // What it waits for.
  const SimMutex* mutex = nullptr;
  const Task* joined = nullptr;
  bool waits = false;  ///< for one of these:
  bool notified = false;
  const SimCondition* condition = nullptr;
  Ready* ready = nullptr;
  std::optional<Time> until;

  /// It waits for nothing any more.
  void begin_turn() {
    mutex = nullptr;
    joined = nullptr;
    waits = notified = false;
    condition = nullptr;
    ready = nullptr;
    until.reset();
  }
};

class Scheduler::SimCondition final : public Threads::Condition {
 public:
  explicit SimCondition(Scheduler& scheduler) : scheduler_(scheduler) {}

  void notify_one() override {
    std::vector<Task*> waiting;
    for (const auto& task : scheduler_.tasks_)
      if (task->condition == this && !task->notified) waiting.push_back(task.get());
    if (!waiting.empty()) waiting[scheduler_.random_.below(waiting.size())]->notified = true;
  }
  void notify_all() override {
    for (const auto& task : scheduler_.tasks_)
      if (task->condition == this) task->notified = true;
  }
  void wait(Lock& lock) override { wait_for_it(lock, std::nullopt); }
  void wait_until(Lock& lock, Time time) override { wait_for_it(lock, time); }
  using Condition::wait;

 private:
  void wait_for_it(Lock& lock, std::optional<Time> until) {
    scheduler_.leave_if_over();
    auto& task = *scheduler_.current_;
    task.waits = true;
    task.condition = this;
    task.until = until;
    lock.unlock();
    scheduler_.give_way();
    lock.lock();
    scheduler_.leave_if_over();
  }

  Scheduler& scheduler_;
};

class Scheduler::SimThread final : public Threads::Thread {
 public:
  SimThread(Scheduler& scheduler, TaskPointer task)
      : scheduler_(scheduler), task_(std::move(task)) {}
  ~SimThread() override { join(); }

  /// Also called by destructors: it throws nothing.
  void join() override {
    while (!task_->fiber->done() && !scheduler_.over_) {
      scheduler_.current_->joined = task_.get();
      scheduler_.give_way();
    }
    // Nobody else is resumed here: an owner of what this task works with would take it away.
    while (!task_->fiber->done() && !task_->active) scheduler_.resume(task_);
  }

 private:
  Scheduler& scheduler_;
  const TaskPointer task_;
};

/// Also called by destructors: it throws nothing, but where the process is over and another one
/// has it. What is guarded may be half changed then.
void Scheduler::SimMutex::lock() {
  if (scheduler_.current_ != nullptr && !scheduler_.over_) {
    if (scheduler_.random_.one_in(8)) scheduler_.give_way();
    while (locked_ && !scheduler_.over_) {
      scheduler_.current_->mutex = this;
      scheduler_.give_way();
    }
  }
  if (locked_ && scheduler_.current_ != nullptr) scheduler_.leave_if_over();
  locked_ = true;
}

Scheduler::~Scheduler() { end(); }

std::unique_ptr<Threads::Mutex> Scheduler::make_mutex() {
  return std::make_unique<SimMutex>(*this);
}

std::unique_ptr<Threads::Condition> Scheduler::make_condition() {
  return std::make_unique<SimCondition>(*this);
}

Scheduler::TaskPointer Scheduler::add(std::string_view name, std::function<void()> body) {
  auto task = std::make_shared<Task>();
  task->name = name;
  task->fiber = std::make_unique<Fiber>(std::move(body));
  tasks_.push_back(task);
  return task;
}

std::unique_ptr<Threads::Thread> Scheduler::start(std::string_view name, std::function<void()> body,
                                                  Priority) {
  leave_if_over();
  return std::make_unique<SimThread>(*this, add(name, std::move(body)));
}

void Scheduler::start_beside(std::string_view name, std::function<void()> body) {
  add(name, std::move(body));
}

bool Scheduler::running(std::string_view name) const {
  return std::any_of(tasks_.begin(), tasks_.end(),
                     [&](const auto& task) { return task->name == name; });
}

std::string_view Scheduler::current() const {
  return current_ == nullptr ? std::string_view() : std::string_view(current_->name);
}

bool Scheduler::runnable(const Task& task) const {
  if (task.mutex != nullptr) return !task.mutex->locked();
  if (task.joined != nullptr) return task.joined->fiber->done();
  if (!task.waits) return true;
  return task.notified || (task.until && story_.now >= *task.until) ||
         (task.ready != nullptr && task.ready->ready());
}

void Scheduler::run(std::string_view name, std::function<void()> body, const Tick& tick) {
  over_ = false;
  const auto main = add(name, std::move(body));
  next_ = Next::undecided;
  while (!main->fiber->done()) {
    auto* const task = std::exchange(next_, Next::undecided) == Next::chosen ? chosen_ : choose();
    if (task == nullptr) {
      idle(tick);
      continue;
    }
    waited_ = task->waits;
    resume(task->shared_from_this());
    if (death_) std::rethrow_exception(std::exchange(death_, nullptr));
    if (next_ == Next::tick || (next_ == Next::undecided && (waited_ || random_.one_in(4)))) {
      next_ = Next::undecided;
      tick(std::nullopt);
    }
  }
}

/// Whose turn it is. nullptr: everybody waits.
Scheduler::Task* Scheduler::choose() {
  choice_.clear();
  for (const auto& task : tasks_)
    if (runnable(*task)) choice_.push_back(task.get());
  return choice_.empty() ? nullptr : choice_[random_.below(choice_.size())];
}

/// Everybody waits: the world moves on, now and then to the moment that somebody waits for.
void Scheduler::idle(const Tick& tick) {
  auto earliest = Time::max();
  bool hears = false;
  for (const auto& task : tasks_) {
    if (task->until) earliest = std::min(earliest, *task->until);
    hears = hears || task->ready != nullptr;
  }
  if (earliest == Time::max() && !hears)
    throw Violation{"P8", "everybody waits, and nothing will end that"};
  if (earliest != Time::max() && random_.one_in(6)) story_.now = std::max(story_.now, earliest);
  tick(earliest);
}

void Scheduler::resume(const TaskPointer& task) {
  const auto before = std::exchange(current_, task.get());
  task->active = true;
  task->begin_turn();
  const auto thrown = task->fiber->resume();
  current_ = before;
  task->active = false;
  if (task->fiber->done()) std::erase(tasks_, task);
  // The first one tells.
  if (thrown && !std::exchange(over_, true)) std::rethrow_exception(thrown);
}

/// As run() does it; if the same task goes on, and the world does not move before, the stacks are
/// not changed, which is what most of the scheduler's time is spent on.
void Scheduler::give_way() {
  if (!over_) {
    next_ = waited_ || random_.one_in(4) ? Next::tick : Next::chosen;
    if (next_ == Next::chosen) chosen_ = choose();
    if (next_ == Next::chosen && chosen_ == current_) {
      next_ = Next::undecided;
      waited_ = current_->waits;
      current_->begin_turn();
      return;
    }
  }
  Fiber::pause();
}

void Scheduler::die(std::exception_ptr why) {
  if (!std::exchange(over_, true)) death_ = std::move(why);
  throw MachineDown{};
}

/// Not out of a destructor that runs because of that already.
void Scheduler::leave_if_over() const {
  if (over_ && std::uncaught_exceptions() == 0) throw MachineDown{};
}

void Scheduler::pause() {
  if (current_ == nullptr) return;
  leave_if_over();
  if (!over_) give_way();
  leave_if_over();
}

void Scheduler::sleep_until(Time time) { wait(nullptr, time); }

void Scheduler::wait(Ready* ready, std::optional<Time> until) {
  leave_if_over();
  if (over_) return;
  current_->waits = true;
  current_->ready = ready;
  current_->until = until;
  give_way();
  leave_if_over();
}

/// First those who hold what others wait for.
Scheduler::TaskPointer Scheduler::next_to_end() const {
  for (const auto& task : tasks_)
    if (task->mutex == nullptr && task->joined == nullptr) return task;
  return tasks_.empty() ? nullptr : tasks_.front();
}

void Scheduler::end() {
  over_ = true;
  while (const auto next = next_to_end()) resume(next);
}

}  // namespace weir::sim
