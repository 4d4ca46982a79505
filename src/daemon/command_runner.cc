#include "daemon/command_runner.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace weir::daemon {

namespace {

/// "" if it succeeded, otherwise the reason why not.
std::string run_job(const CommandRunner::Job& job) {
  try {
    io::ChildProcess child(io::shell_command(job.command),
                           {.environment = environment_with(job.variables)});
    const auto end = child.wait();
    return end.success() ? "" : end.to_string();
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

io::Environment environment_with(const Variables& variables) {
  auto result = io::own_environment([&](std::string_view entry) {
    return std::ranges::any_of(variables, [&](const auto& variable) {
      return entry.substr(0, entry.find('=')) == variable.first;
    });
  });
  for (const auto& [name, value] : variables) result.push_back(name + "=" + value);
  return result;
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
    if (stop_) {
      if (job.counts) ++not_accepted_;
      return false;
    }
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
  return not_accepted_ + static_cast<std::size_t>(std::ranges::count_if(jobs_, &Job::counts));
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
    const auto trouble = run_job(job);
    if (!trouble.empty()) log_.warning("the command for {} failed: {}", job.about, trouble);
    lock.lock();
    if (!trouble.empty()) ++failures_;
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace weir::daemon
