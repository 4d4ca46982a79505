#include "base/periodic_look.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

namespace weir::periodic_look_test {
namespace {

using namespace std::chrono_literals;

void wait_until(const std::function<bool()>& done) {
  while (!done()) std::this_thread::sleep_for(1ms);
}

TEST(PeriodicLook, IsRepeatedUntilItSaysNever) {
  auto& threads = machine_threads();
  std::atomic<int> looks = 0;
  const PeriodicLook look(threads, "test", threads.now(), [&]() -> std::optional<Threads::Time> {
    if (++looks == 3) return std::nullopt;
    return threads.now() + 1ms;
  });
  wait_until([&] { return looks == 3; });
}

TEST(PeriodicLook, WaitsForItsTimeUnlessItIsWantedNow) {
  auto& threads = machine_threads();
  std::atomic<int> looks = 0;
  {
    const PeriodicLook never(threads, "test", threads.now() + 24h, [&] {
      ++looks;
      return threads.now() + 24h;
    });
  }
  EXPECT_EQ(looks, 0);
  PeriodicLook look(threads, "test", threads.now() + 24h, [&] {
    ++looks;
    return threads.now() + 24h;
  });
  look.look_now();
  wait_until([&] { return looks == 1; });
  look.look_now();
  wait_until([&] { return looks == 2; });
}

TEST(PeriodicLook, IsEndedAfterTheCallInProgress) {
  auto& threads = machine_threads();
  std::atomic<bool> begun = false;
  std::atomic<bool> done = false;
  {
    const PeriodicLook look(threads, "test", threads.now(), [&] {
      begun = true;
      std::this_thread::sleep_for(20ms);
      done = true;
      return threads.now() + 24h;
    });
    wait_until([&] { return begun.load(); });
  }
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace weir::periodic_look_test
