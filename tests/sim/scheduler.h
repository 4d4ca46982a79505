#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "fiber.h"
#include "random.h"
#include "story.h"

namespace weir::sim {

/// The threads of a simulated machine: fibers, of which one runs at a time, until it waits for
/// something or pauses; then chance says who is next. So any order comes about that could with
/// threads, and the seed decides which.
///
/// Short times pass while somebody runs, long ones only where everybody waits: a processor is
/// always to be had.
class Scheduler final : public Threads {
 public:
  /// What a task may wait for, beside time.
  class Ready {
   public:
    virtual ~Ready() = default;
    [[nodiscard]] virtual bool ready() = 0;
  };

  Scheduler(Random& random, Story& story) : random_(random), story_(story) {}
  ~Scheduler() override;

  /// Moves the world and its clock. `idle_until`: until then everybody waits, if nothing comes.
  using Tick = std::function<void(std::optional<Time> idle_until)>;

  /// Runs `body` to its end, and beside it whatever is started; calls `tick` now and then. What any
  /// of them throws ends this; end() then ends the others.
  void run(std::string_view name, std::function<void()> body, const Tick& tick);
  /// The process, or its machine, is gone. Whoever is left is thrown out of where it waits.
  void end();
  [[nodiscard]] bool empty() const { return tasks_.empty(); }
  /// From within a task: its process ends here and now, and run() throws `why`.
  [[noreturn]] void die(std::exception_ptr why);

  /// Another process.
  void start_beside(std::string_view name, std::function<void()> body);
  [[nodiscard]] bool running(std::string_view name) const;
  /// Whose turn it is; empty: nobody's.
  [[nodiscard]] std::string_view current() const;

  // From within a task; throws MachineDown where all is over.
  void pause();
  void sleep_until(Time time);
  /// Until it is ready, or time.
  void wait(Ready* ready, std::optional<Time> until);

  std::unique_ptr<Mutex> make_mutex() override;
  std::unique_ptr<Condition> make_condition() override;
  std::unique_ptr<Thread> start(std::string_view name, std::function<void()> body,
                                Priority priority) override;
  void yield() override { pause(); }
  Time now() override { return story_.now; }

 private:
  struct Task;
  class SimMutex;
  class SimCondition;
  class SimThread;
  using TaskPointer = std::shared_ptr<Task>;

  TaskPointer add(std::string_view name, std::function<void()> body);
  [[nodiscard]] bool runnable(const Task& task) const;
  void resume(const TaskPointer& task);
  [[nodiscard]] Task* choose();
  void give_way();
  void leave_if_over() const;
  void idle(const Tick& tick);
  [[nodiscard]] TaskPointer next_to_end() const;

  Random& random_;
  Story& story_;
  std::vector<TaskPointer> tasks_;
  std::vector<Task*> choice_;  ///< of tasks_: those that can run
  /// What comes after the task that runs has given way, as far as that is decided.
  enum class Next { undecided, tick, chosen };
  Next next_ = Next::undecided;
  Task* chosen_ = nullptr;  ///< nullptr: everybody waits
  bool waited_ = false;     ///< the task that runs, for something to happen
  Task* current_ = nullptr;
  bool over_ = false;
  std::exception_ptr death_;
};

}  // namespace weir::sim
