#include "web/watch.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <thread>

namespace weir::web::watch_test {
namespace {

using namespace std::chrono_literals;

constexpr Pace kQuick{.watched = 1ms, .unwatched = 1ms};

/// Waits until the watch has seen what is wanted.
template <typename Look, typename Wanted>
typename Watch<Look>::Seen wait_until(Watch<Look>& watch, Wanted wanted) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  for (;;) {
    auto seen = watch.latest();
    if (wanted(seen) || std::chrono::steady_clock::now() > deadline) return seen;
    std::this_thread::yield();
  }
}

TEST(Watch, RestsLongerAfterAnExpensiveLookButNotAfterOneThatHung) {
  EXPECT_EQ(rest_after(1ms, 3s), 3s);
  EXPECT_EQ(rest_after(10s, 3s), 200s);
  EXPECT_EQ(rest_after(2h, 3s), 5min);
  EXPECT_EQ(rest_after(2h, 10min), 10min);
  EXPECT_EQ(rest_after(10s, 3s, 0), 3s) << "a request to another host";
}

TEST(Watch, LooksAgainAndAgain) {
  std::atomic<int> count = 0;
  std::atomic<bool> last = false;
  {
    Watch<int> watch({.look = [&] { return ++count; },
                      .each_time = [&](bool is_last) { last = is_last; },
                      .pace = kQuick});
    const auto seen = wait_until(watch, [](const auto& at) { return at.look && *at.look >= 3; });
    ASSERT_TRUE(seen.look);
    EXPECT_GE(*seen.look, 3);
    EXPECT_EQ(seen.error, "");
    EXPECT_FALSE(last);
  }
  EXPECT_TRUE(last);
}

TEST(Watch, LooksAtOnceIfWanted) {
  std::atomic<int> count = 0;
  Watch<int> watch(
      {.look = [&] { return ++count; }, .each_time = {}, .pace = {.watched = 1h, .unwatched = 1h}});
  const auto sees = [&](int wanted) {
    const auto seen =
        wait_until(watch, [&](const auto& at) { return at.look && *at.look >= wanted; });
    return seen.look ? *seen.look : 0;
  };
  EXPECT_EQ(sees(1), 1);
  watch.look_now();
  EXPECT_EQ(sees(2), 2);
}

TEST(Watch, KeepsTheLastLookAndSaysWhyThereIsNoNewer) {
  std::atomic<int> count = 0;
  Watch<int> watch({.look =
                        [&] {
                          if (++count > 1) throw std::runtime_error("the disk is gone");
                          return 1;
                        },
                    .each_time = {},
                    .pace = kQuick});
  const auto seen = wait_until(watch, [](const auto& at) { return !at.error.empty(); });
  EXPECT_EQ(seen.error, "the disk is gone");
  ASSERT_TRUE(seen.look);
  EXPECT_EQ(*seen.look, 1);
}

TEST(Watch, LeavesALookBehindThatHangs) {
  // Shared: the thread outlives the watch, as one that hangs in a disk does.
  struct Shared {
    std::promise<void> begun, go_on, ended;
  };
  const auto shared = std::make_shared<Shared>();
  {
    Watch<int> watch({.look =
                          [shared] {
                            shared->begun.set_value();
                            shared->go_on.get_future().wait();
                            return 1;
                          },
                      .each_time =
                          [shared](bool last) {
                            if (last) shared->ended.set_value();
                          },
                      .pace = kQuick});
    shared->begun.get_future().wait();
    EXPECT_FALSE(watch.peek().look);
    EXPECT_FALSE(watch.peek().stuck_since) << "that long is usual";
  }
  shared->go_on.set_value();
  shared->ended.get_future().wait();
}

TEST(Watch, WaitsForWhatLibrariesDoWhenTheThreadEnds) {
  // As OpenSSL keeps its state of a thread. Slow: a future would be ready before.
  static std::atomic<bool> freed;
  freed = false;
  static pthread_key_t key;
  ASSERT_EQ(::pthread_key_create(&key,
                                 [](void*) {
                                   std::this_thread::sleep_for(100ms);
                                   freed = true;
                                 }),
            0);
  {
    Watch<int> watch(
        {.look = [] { return ::pthread_setspecific(key, &freed); }, .each_time = {}, .pace = {}});
    const auto seen = wait_until(watch, [](const auto& at) { return at.look != nullptr; });
    ASSERT_TRUE(seen.look);
    EXPECT_EQ(*seen.look, 0);
  }
  EXPECT_TRUE(freed);
  ::pthread_key_delete(key);
}

TEST(Watch, SaysSinceWhenALookHasNotReturned) {
  struct Shared {
    std::atomic<int> count = 0;
    std::promise<void> go_on;
  };
  const auto shared = std::make_shared<Shared>();
  const auto go_on = shared->go_on.get_future().share();
  const auto before = std::chrono::system_clock::now();
  Watch<int> watch({.look =
                        [shared, go_on] {
                          if (++shared->count == 2) go_on.wait();
                          return shared->count.load();
                        },
                    .each_time = {},
                    .pace = {.watched = 1ms, .unwatched = 1ms, .patience = 50ms}});
  const auto seen = wait_until(watch, [](const auto& at) { return at.stuck_since && at.look; });
  ASSERT_TRUE(seen.stuck_since);
  EXPECT_GE(*seen.stuck_since, before);
  EXPECT_LE(*seen.stuck_since, std::chrono::system_clock::now());
  ASSERT_TRUE(seen.look);
  EXPECT_EQ(*seen.look, 1) << "what was seen before";
  EXPECT_EQ(*watch.peek().stuck_since, *seen.stuck_since);
  shared->go_on.set_value();
  EXPECT_FALSE(wait_until(watch, [](const auto& at) { return !at.stuck_since; }).stuck_since);
}

}  // namespace
}  // namespace weir::web::watch_test
