#include "store/http/secret_command.h"

#include <fcntl.h>  // check-includes: O_CLOEXEC of a pipe
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include "base/error.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Interval between checks of stop and of the command's end.
constexpr auto kSecretSlice = 50ms;
/// Time to clean up after a termination request.
constexpr auto kSecretGrace = 1s;

/// A user may be there to type a password.
bool at_a_terminal() {
  return std::ranges::any_of(std::array{STDIN_FILENO, STDERR_FILENO},
                             [](int file) { return ::tcgetpgrp(file) == ::getpgrp(); });
}

/// A command, and the read end of its output pipe.
class SecretProcess {
 public:
  SecretProcess(const std::string& command, bool own_group) : own_group_(own_group) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw failed(errno);
    output_ = pipe[0];
    const int code = start(command, pipe[1]);
    ::close(pipe[1]);
    if (code == 0) return;
    ::close(output_);
    throw failed(code);
  }
  ~SecretProcess() { stop_reading(); }
  SecretProcess(const SecretProcess&) = delete;
  SecretProcess& operator=(const SecretProcess&) = delete;

  [[nodiscard]] int output() const { return output_; }
  void stop_reading() {
    if (output_ >= 0) ::close(std::exchange(output_, -1));
  }
  /// Without reaping it, so its PID cannot be reused meanwhile.
  [[nodiscard]] bool has_ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid != 0;
  }
  void end() const {
    signal(SIGTERM);
    const auto until = Clock::now() + kSecretGrace;
    while (!has_ended() && Clock::now() < until) std::this_thread::sleep_for(kSecretSlice / 10);
    signal(SIGKILL);
  }
  [[nodiscard]] int wait() const {
    int status = -1;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : status;
  }

 private:
  static Error failed(int code) {
    return Error(ErrorKind::retry, "a command for secrets could not be started")
        .with("reason", std::strerror(code));
  }
  void signal(int number) const { ::kill(own_group_ ? -child_ : child_, number); }

  int start(const std::string& command, int output) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    // As a shell expects them: pgweir blocks some signals and ignores others.
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (const int number : {SIGPIPE, SIGXFSZ, SIGTERM}) sigaddset(&defaults, number);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes,
                               static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                  (own_group_ ? POSIX_SPAWN_SETPGROUP : 0)));
    std::string shell = "sh";
    std::string option = "-c";
    std::string text = command;
    char* const arguments[] = {shell.data(), option.data(), text.data(), nullptr};
    const int code = ::posix_spawn(&child_, "/bin/sh", &actions, &attributes, arguments, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    return code;
  }

  const bool own_group_;
  int output_ = -1;
  pid_t child_ = 0;
};

}  // namespace

SecretOutput run_for_secret(const std::string& command, std::uint64_t most,
                            const std::optional<SecretBound>& bound) {
  using End = SecretOutput::End;
  if (bound && bound->stop && bound->stop()) return {.end = End::stopped};
  SecretProcess process(command, bound && !at_a_terminal());
  const auto until = Clock::now() + (bound ? bound->time : 0ms);
  std::string output;
  std::array<char, 4096> buffer{};
  auto end = End::itself;
  const auto has_time = [&] {
    if (!bound) return true;
    if (bound->stop && bound->stop()) end = End::stopped;
    if (end == End::itself && Clock::now() >= until) end = End::too_late;
    return end == End::itself;
  };
  bool prints = true;
  while (has_time()) {
    if (!prints) {
      if (!bound || process.has_ended()) break;
      std::this_thread::sleep_for(kSecretSlice / 10);
      continue;
    }
    pollfd ready{process.output(), POLLIN, 0};
    if (::poll(&ready, 1, bound ? static_cast<int>(kSecretSlice.count()) : -1) <= 0) continue;
    const auto count = ::read(process.output(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count > 0) output.append(buffer.data(), static_cast<std::size_t>(count));
    prints = count > 0 && output.size() <= most;
    if (!prints) process.stop_reading();
  }
  ::explicit_bzero(buffer.data(), buffer.size());
  if (end != End::itself) process.end();
  return {Secret(std::move(output)), process.wait(), end};
}

}  // namespace weir::store
