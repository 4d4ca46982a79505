#include "io/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/descriptor.h"
#include "base/error.h"

namespace weir::io {

namespace {

using namespace std::chrono_literals;
using ProcessClock = std::chrono::steady_clock;

/// Interval between checks of a program's end, and of `stop`.
constexpr auto kProcessLook = 10ms;
/// Time to clean up after a request to terminate.
constexpr auto kProcessGrace = 1s;
/// A shell's exit codes.
constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;

Error not_started(int code) {
  return Error(ErrorKind::retry, "could not start a process").with("reason", std::strerror(code));
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct Start {
  char* const* arguments;
  char* const* environment;
  const ChildProcess::Settings& settings;
  int input;  ///< -1: ours
  pid_t parent;
};

/// `to` is inherited, also if it is the same descriptor.
void place(int descriptor, int to) {
  if (descriptor == to)
    ::fcntl(to, F_SETFD, 0);
  else
    ::dup2(descriptor, to);
}

/// In the child, which shares its memory with the parent until exec: nothing but system calls. All
/// signals are blocked.
[[noreturn]] void become(const Start& start) {
  const auto& settings = start.settings;
  if (settings.on_our_death != 0) {
    ::prctl(PR_SET_PDEATHSIG, settings.on_our_death);
    if (::getppid() != start.parent) ::_exit(kNotFound);  // it died before the signal was set
  }
  if (settings.own_group) ::setpgid(0, 0);
  if (start.input >= 0) place(start.input, STDIN_FILENO);
  if (settings.output >= 0) place(settings.output, STDOUT_FILENO);
  if (settings.errors_to_output) place(settings.output, STDERR_FILENO);
  for (const int descriptor : settings.keep) ::fcntl(descriptor, F_SETFD, 0);
  // A handler must not run in the parent's memory. Signals that were ignored when pgweir
  // was started (nohup) stay ignored.
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) != 0) continue;
    const bool by_pgweir = number == SIGPIPE || number == SIGXFSZ || number == SIGTERM;
    if (action.sa_handler == SIG_IGN && !by_pgweir) continue;
    action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(number, &action, nullptr);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(start.arguments[0], start.arguments, start.environment);
  ::_exit(errno == ENOENT || errno == ENOTDIR ? kNotFound : kNotExecutable);
}

/// vfork(), as posix_spawn() does it: fork() would need as much memory again where memory is not
/// overcommitted. (posix_spawn() cannot set the signal on our death.)
pid_t start_process(const Start& start) {
  const pid_t child = ::vfork();
  if (child == 0) become(start);
  return child;
}

}  // namespace

Command shell_command(std::string text) { return {"/bin/sh", "-c", std::move(text)}; }

Environment own_environment(const std::function<bool(std::string_view entry)>& leave_out) {
  Environment result;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (!leave_out || !leave_out(*entry)) result.emplace_back(*entry);
  return result;
}

std::string ProcessEnd::to_string() const {
  if (WIFSIGNALED(wait_status_))
    return fmt::format("child process was terminated by signal {}: {}", WTERMSIG(wait_status_),
                       ::strsignal(WTERMSIG(wait_status_)));
  const int code = WEXITSTATUS(wait_status_);
  if (code == kNotExecutable) return "command not executable";
  if (code == kNotFound) return "command not found";
  return fmt::format("child process exited with exit code {}", code);
}

ChildProcess::ChildProcess(const Command& command, const Settings& settings)
    : own_group_(settings.own_group) {
  auto words = command;
  auto variables = settings.environment;
  const auto arguments = pointers(words);
  const auto environment = pointers(variables);
  const Descriptor empty(settings.own_input ? -1 : ::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!settings.own_input && !empty) throw not_started(errno);
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_ = start_process({arguments.data(), environment.data(), settings, empty.get(), ::getpid()});
  const int code = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid_ < 0) throw not_started(code);
}

ChildProcess::~ChildProcess() {
  if (ended_) return;
  ::kill(own_group_ ? -pid_ : pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<ProcessEnd> ChildProcess::ended() {
  if (ended_) return ended_;
  int status = 0;
  const auto found = ::waitpid(pid_, &status, WNOHANG);
  if (found == pid_) ended_.emplace(status);
  if (found < 0 && errno != EINTR) throw system_error(errno, "could not wait for a process");
  return ended_;
}

bool ChildProcess::wait(std::chrono::milliseconds time) {
  const auto until = ProcessClock::now() + time;
  while (!ended()) {
    if (ProcessClock::now() >= until) return false;
    std::this_thread::sleep_for(std::min(time, kProcessLook));
  }
  return true;
}

ProcessEnd ChildProcess::wait() {
  while (!ended()) {
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  return *ended_;
}

void ChildProcess::signal(int number) {
  if (!ended()) ::kill(own_group_ ? -pid_ : pid_, number);
}

bool ChildProcess::is_zombie() const {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    throw system_error(errno, "could not wait for a process");
  return info.si_pid != 0;
}

void ChildProcess::terminate(std::chrono::milliseconds grace) {
  if (ended_) return;
  // Also if only its descendants are left: they may be what was waited for. Until it is reaped, no
  // other process can have its ID.
  if (!is_zombie() || own_group_) ::kill(own_group_ ? -pid_ : pid_, SIGTERM);
  const auto until = ProcessClock::now() + grace;
  while (!is_zombie() && ProcessClock::now() < until) std::this_thread::sleep_for(kProcessLook);
  ::kill(own_group_ ? -pid_ : pid_, SIGKILL);
}

Captured run_captured(const Command& command, ChildProcess::Settings settings,
                      const Capture& capture) {
  using Cut = Captured::Cut;
  const auto until = ProcessClock::now() + capture.time.value_or(0ms);
  const auto cut_now = [&] {
    if (capture.stop && capture.stop()) return Cut::stopped;
    return capture.time && ProcessClock::now() >= until ? Cut::too_late : Cut::none;
  };
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw not_started(errno);
  Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  settings.output = writing.get();
  ChildProcess child(command, settings);
  writing.close();

  std::string output;
  std::string line;
  const auto add = [&](std::string_view text) {
    output += text;
    if (capture.keep == Capture::Keep::back && output.size() > 2 * capture.most)
      output.erase(0, output.size() - capture.most);
    if (!capture.line) return;
    for (const char c : text) {
      if (c != '\n' && c != '\r') {
        line += c;
      } else if (!line.empty()) {
        capture.line(line);
        line.clear();
      }
    }
  };
  std::array<char, 8192> buffer;
  auto cut = Cut::none;
  while (reading && (cut = cut_now()) == Cut::none) {
    pollfd ready{reading.get(), POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(kProcessLook.count())) <= 0) continue;
    const auto count = ::read(reading.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count > 0) add({buffer.data(), static_cast<std::size_t>(count)});
    const bool enough = capture.keep == Capture::Keep::front && output.size() > capture.most;
    if (count <= 0 || enough) reading.close();
  }
  ::explicit_bzero(buffer.data(), buffer.size());  // it may have been a secret
  while (cut == Cut::none && !child.wait(kProcessLook)) cut = cut_now();
  if (cut != Cut::none) child.terminate(kProcessGrace);
  if (!line.empty()) capture.line(line);
  if (capture.keep == Capture::Keep::back && output.size() > capture.most)
    output.erase(0, output.size() - capture.most);
  return {child.wait(), std::move(output), cut};
}

}  // namespace weir::io
