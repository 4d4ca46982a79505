#include "daemon/signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

#include "base/exit_status.h"
#include "daemon/stop_request.h"

namespace weir::daemon::signals_test {
namespace {

using namespace std::chrono_literals;
constexpr int kTooLate = 99;

/// What a process of its own ends with: signals are blocked in it for good. It begins as one that a
/// shell has started, also where nohup has started the tests.
int in_a_child(const std::function<int()>& run) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGHUP, SIG_DFL);
    ::_exit(run());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

bool wait_for(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// The signal was taken, and whatever it leads to is done once stop() returns.
bool taken(int number) {
  return wait_for([&] {
    sigset_t pending;
    return ::sigpending(&pending) == 0 && sigismember(&pending, number) == 0;
  });
}

TEST(StopRequest, IsMadeByAnyOfTheSignals) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    SCOPED_TRACE(number);
    EXPECT_EQ(in_a_child([&] {
                const StopRequest stop;
                if (stop.made()) return 1;
                ::kill(::getpid(), number);
                return wait_for([&] { return stop.made(); }) ? 0 : kTooLate;
              }),
              0);
  }
}

TEST(StopRequest, EndsTheProcessWhenItIsMadeAgain) {
  EXPECT_EQ(in_a_child([] {
              const StopRequest stop;
              wait_for([] { return ::kill(::getpid(), SIGTERM) != 0; });
              return kTooLate;
            }),
            kTryAgain);
}

TEST(Signals, LeaveAHangupAloneThatWasIgnoredAtTheStart) {
  for (const bool ignored : {true, false}) {
    SCOPED_TRACE(ignored);
    EXPECT_EQ(in_a_child([&] {
                if (ignored) std::signal(SIGHUP, SIG_IGN);
                Signals signals;
                bool stopped = false;
                Signals::Handlers handlers;
                handlers.stop = [&] { stopped = true; };
                signals.start(handlers);
                ::kill(::getpid(), SIGHUP);
                if (!taken(SIGHUP)) return kTooLate;
                signals.stop();
                return stopped ? 1 : 0;
              }),
              ignored ? 0 : 1);
  }
}

TEST(Signals, ReloadAtAHangupWhereThereIsSomethingToReload) {
  EXPECT_EQ(in_a_child([] {
              Signals signals;
              int reloads = 0;
              bool stopped = false;
              Signals::Handlers handlers;
              handlers.stop = [&] { stopped = true; };
              handlers.reload = [&] { ++reloads; };
              signals.start(handlers);
              ::kill(::getpid(), SIGHUP);
              if (!taken(SIGHUP)) return kTooLate;
              signals.stop();
              return stopped ? 50 : reloads;
            }),
            1);
}

}  // namespace
}  // namespace weir::daemon::signals_test
