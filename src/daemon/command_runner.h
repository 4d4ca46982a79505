#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "io/child_process.h"

namespace weir::daemon {

/// Names and values added to our own environment for a user's command.
using Variables = std::vector<std::pair<std::string, std::string>>;

/// Our environment, in which these values replace its own under the same names.
[[nodiscard]] io::Environment environment_with(const Variables& variables);

/// Runs commands one after the other, in a thread of its own, in the order they were added. The
/// number of waiting commands is bounded: adding one more blocks. A failed command is logged and
/// counted. Values are passed only in the environment: nothing is inserted into the command's text,
/// and its standard input is empty. add() and the ending functions must be called by one thread,
/// stop() by any.
class CommandRunner {
 public:
  struct Job {
    std::string command;
    Variables variables;
    std::string about;   ///< for messages: "channel orders"
    bool counts = true;  ///< if it is not run, in finish()
  };

  CommandRunner(std::size_t most_waiting, Log& log);
  ~CommandRunner();
  CommandRunner(const CommandRunner&) = delete;
  CommandRunner& operator=(const CommandRunner&) = delete;

  /// False if it was stopped: the job is not run.
  bool add(Job job);
  /// Returns false if add() would still have to wait after this time.
  [[nodiscard]] bool wait_for_room(std::chrono::milliseconds time);
  /// Begins no other job. The one that runs is not disturbed.
  void stop();
  /// Waits until all jobs are done or, once stopped, the one that runs. Returns how many were not
  /// run, those that add() did not accept included.
  std::size_t finish();
  [[nodiscard]] std::size_t failures() const;

 private:
  void work();

  const std::size_t most_waiting_;
  Log& log_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool busy_ = false;
  bool stop_ = false;
  bool end_ = false;
  std::size_t failures_ = 0;
  std::size_t not_accepted_ = 0;  ///< of those that count
  std::thread thread_;
};

}  // namespace weir::daemon
