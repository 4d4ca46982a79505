#include "daemon/process_one.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

namespace weir::daemon {

namespace {

constexpr int kBySignal = 128;

/// Waits for all that have ended; the status of `child` if it is one of them.
std::optional<int> reap(pid_t child) {
  std::optional<int> result;
  int status = 0;
  // One SIGCHLD may represent several.
  for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;)
    if (ended == child)
      result = WIFSIGNALED(status) ? kBySignal + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace

bool is_process_one() { return ::getpid() == 1; }

int below_process_one(const std::function<int()>& work) {
  // The parent process may have ignored it: then no child could be waited for.
  std::signal(SIGCHLD, SIG_DFL);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // Before the fork: a signal received meanwhile is passed on.
  ::sigprocmask(SIG_BLOCK, &all, &before);
  const pid_t child = ::fork();
  if (child <= 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return work();
  }
  for (;;) {
    siginfo_t info{};
    const int number = ::sigwaitinfo(&all, &info);
    if (number == SIGCHLD) {
      if (const auto status = reap(child)) return *status;
    } else if (number > 0 && info.si_code != SI_KERNEL) {
      // (The kernel's own, such as a terminal's, reach the child anyway.)
      ::kill(child, number);
    }
  }
}

}  // namespace weir::daemon
