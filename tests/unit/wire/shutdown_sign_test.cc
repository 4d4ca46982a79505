#include "wire/shutdown_sign.h"

#include <gtest/gtest.h>

namespace weir::wire::shutdown_sign_test {
namespace {

using namespace std::chrono_literals;

TEST(ShutdownSign, IsARequestAfterEachReply) {
  const auto begin = ShutdownSign::Time() + 1h;
  ShutdownSign sign(ShutdownSign::soon_again(60s));
  auto now = begin;
  for (int i = 1; i <= 8; ++i) {
    EXPECT_FALSE(sign.shown(now)) << i;
    now += 900ms;
    sign.on_request(now);
  }
  EXPECT_TRUE(sign.shown(now));
  EXPECT_TRUE(sign.shown(now + 1s));
  EXPECT_FALSE(sign.shown(now + 1001ms));
  sign.clear();
  EXPECT_FALSE(sign.shown(now));
}

TEST(ShutdownSign, IsNoneOfTheRequestsThatAShortTimeoutMakesFrequent) {
  for (const auto timeout : {20ms, 1000ms, 60'000ms}) {
    ShutdownSign sign(ShutdownSign::soon_again(timeout));
    auto now = ShutdownSign::Time() + 1h;
    for (int i = 0; i < 100; ++i) {
      now += timeout / 2;
      sign.on_request(now);
      EXPECT_FALSE(sign.shown(now)) << timeout.count();
    }
  }
  EXPECT_EQ(ShutdownSign::soon_again(0ms), 1s) << "no limit";
}

}  // namespace
}  // namespace weir::wire::shutdown_sign_test
