#include "daemon/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <utility>

#include "base/exit_status.h"

namespace weir::daemon {

namespace {

/// A signal sent to a process and then to its group ("timeout", a terminal and a wrapper in it)
/// counts as one.
constexpr std::chrono::milliseconds kOneSignal(500);

}  // namespace

Signals::Signals() {
  struct sigaction hangup {};
  // If it were blocked it would still be delivered.
  hangup_ignored_ = ::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  // A signalfd rather than sigwait(): the thread can also be requested to end.
  const int code = ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  if (code != 0) throw system_error(code, "could not block signals");
  fd_ = Descriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw system_error(errno, "could not prepare for signals");
}

Signals::~Signals() { stop(); }

void Signals::start(Handlers handlers) {
  thread_ = std::thread([this, own = std::move(handlers)] { work(own); });
}

void Signals::stop() {
  end_.raise();
  if (thread_.joinable()) thread_.join();
}

void Signals::work(const Handlers& handlers) {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> stopped;
  for (;;) {
    pollfd polls[] = {{fd_.get(), POLLIN, 0}, {end_.fd(), POLLIN, 0}};
    if (::poll(polls, 2, -1) < 0) continue;
    if (polls[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) != sizeof info) continue;
    if (info.ssi_signo == SIGHUP && handlers.reload) {
      handlers.reload();
    } else if (info.ssi_signo == SIGHUP && hangup_ignored_) {
      continue;
    } else if (!stopped) {
      stopped = Clock::now();
      handlers.stop();
    } else if (!handlers.patient && Clock::now() >= *stopped + kOneSignal) {
      handlers.leave();
      ::_exit(kTryAgain);
    }
  }
}

bool stop_is_pending() {
  sigset_t pending;
  return ::sigpending(&pending) == 0 &&
         (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace weir::daemon
