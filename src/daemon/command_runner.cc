#include "daemon/command_runner.h"

#include <fcntl.h>  // check-includes: O_RDONLY for a child's /dev/null
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>

#include "base/error.h"

namespace weir::daemon {

namespace {

/// Our environment with `variables` in the place of what it has under their names.
std::vector<std::string> environment_with(const Variables& variables) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [name, value] : variables)
      replaced |= text.starts_with(name) && text.substr(name.size()).starts_with("=");
    if (!replaced) result.emplace_back(text);
  }
  for (const auto& [name, value] : variables) result.push_back(name + "=" + value);
  return result;
}

/// The child starts with the signals as a shell expects them: we block some and ignore others.
class SpawnSettings {
 public:
  explicit SpawnSettings(Input input) {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (const int number : {SIGPIPE, SIGXFSZ, SIGTERM}) sigaddset(&defaults, number);
    ::posix_spawnattr_setsigdefault(&attributes_, &defaults);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (input == Input::none)
      ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  ~SpawnSettings() {
    ::posix_spawnattr_destroy(&attributes_);
    ::posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }
  [[nodiscard]] const posix_spawn_file_actions_t* actions() const { return &actions_; }

 private:
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

}  // namespace

pid_t start_command(const std::string& command, const Variables& variables, Input input) {
  auto environment = environment_with(variables);
  std::vector<char*> entries;
  for (auto& entry : environment) entries.push_back(entry.data());
  entries.push_back(nullptr);
  std::string shell = "sh";
  std::string option = "-c";
  std::string text = command;
  char* const arguments[] = {shell.data(), option.data(), text.data(), nullptr};

  const SpawnSettings settings(input);
  pid_t child = 0;
  const int code = ::posix_spawn(&child, "/bin/sh", settings.actions(), settings.attributes(),
                                 arguments, entries.data());
  if (code != 0) throw system_error(code, "could not start sh");
  return child;
}

std::string told_of_status(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was ended by signal {}", WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) return fmt::format("ended with status {}", WEXITSTATUS(status));
  return "";
}

std::string run_command(const std::string& command, const Variables& variables) {
  pid_t child = 0;
  try {
    child = start_command(command, variables, Input::none);
  } catch (const Error& error) {
    return "could not be started: " + std::string(error.what());
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return "could not be waited for";
  return told_of_status(status);
}

CommandRunner::CommandRunner(std::size_t most_waiting, Log& log)
    : most_waiting_(most_waiting), log_(log), thread_([this] { work(); }) {}

CommandRunner::~CommandRunner() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = end_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool CommandRunner::add(Job job) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stop_ || jobs_.size() < most_waiting_; });
    if (stop_) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
  return true;
}

bool CommandRunner::wait_for_room(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [&] { return stop_ || jobs_.size() < most_waiting_; });
}

void CommandRunner::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
}

std::size_t CommandRunner::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_ && (stop_ || jobs_.empty()); });
  return jobs_.size();
}

std::size_t CommandRunner::failures() const {
  const std::lock_guard lock(mutex_);
  return failures_;
}

void CommandRunner::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return end_ || (!stop_ && !jobs_.empty()); });
    if (end_) return;
    const auto job = std::move(jobs_.front());
    jobs_.pop_front();
    busy_ = true;
    lock.unlock();
    const auto trouble = run_command(job.command, job.variables);
    if (!trouble.empty()) log_.warning("the command for {} {}", job.about, trouble);
    lock.lock();
    if (!trouble.empty()) ++failures_;
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace weir::daemon
