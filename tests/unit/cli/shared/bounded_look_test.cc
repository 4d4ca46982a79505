#include "cli/shared/bounded_look.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <chrono>
#include <csignal>
#include <future>
#include <memory>

#include "support/error_of.h"

namespace weir::cli::bounded_look_test {
namespace {

using namespace std::chrono_literals;

/// A file system that does not answer until the end of the test.
struct Hanging {
  Hanging() : answered(answers.get_future().share()) {}
  ~Hanging() { answers.set_value(); }
  std::promise<void> answers;
  std::shared_future<void> answered;
};

TEST(Reread, ReturnsWhatWasRead) {
  EXPECT_EQ(reread([] { return 3; }), 3);
  EXPECT_EQ(test::error_of([] {
              static_cast<void>(reread([]() -> int { throw Error(ErrorKind::usage, "wrong"); }));
            }).kind(),
            ErrorKind::usage);
}

TEST(Reread, GivesUpWhileTheFileSystemHangs) {
  const Hanging hanging;
  const auto error = test::error_of([&] {
    static_cast<void>(reread(
        [answered = hanging.answered] {
          answered.wait();
          return 3;
        },
        10ms));
  });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
  EXPECT_FALSE(error.hint().empty());
}

/// Several files may be reread, one after the other.
TEST(Reread, GivesUpWhenAStopIsRequested) {
  constexpr auto kPatience = 30s;
  sigset_t terminate, before;
  sigemptyset(&terminate);
  sigaddset(&terminate, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &terminate, &before), 0);
  ASSERT_EQ(::pthread_kill(::pthread_self(), SIGTERM), 0);
  EXPECT_EQ(reread([] { return 3; }), 3);
  const auto begun = std::chrono::steady_clock::now();
  {
    const Hanging hanging;
    const auto error = test::error_of([&] {
      static_cast<void>(reread(
          [answered = hanging.answered] {
            answered.wait();
            return 3;
          },
          kPatience));
    });
    EXPECT_EQ(error.kind(), ErrorKind::retry);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, kPatience);
  int number = 0;
  EXPECT_EQ(::sigwait(&terminate, &number), 0);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(RereadUnless, EndsWhenItIsStopped) {
  net::Wake stop;
  EXPECT_EQ(reread_unless(stop, [] { return 3; }), 3);
  stop.raise();
  const Hanging hanging;
  EXPECT_EQ(reread_unless(stop,
                          [answered = hanging.answered] {
                            answered.wait();
                            return 3;
                          }),
            std::nullopt);
}

}  // namespace
}  // namespace weir::cli::bounded_look_test
