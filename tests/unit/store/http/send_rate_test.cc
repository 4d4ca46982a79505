#include "store/http/send_rate.h"

#include <gtest/gtest.h>

namespace weir::store::send_rate_test {
namespace {

using namespace std::chrono_literals;
constexpr SendRate::Time kNow{1h};

TEST(SendRate, WhoSendsAloneHasAllOfIt) {
  SendRate rate(16'000);
  EXPECT_EQ(rate.piece(500'000), 1000u);
  EXPECT_EQ(rate.piece(7), 7u);
  EXPECT_EQ(rate.take(1000, kNow), kNow);
  EXPECT_EQ(rate.take(1000, kNow), kNow + 62'500us);
  EXPECT_EQ(rate.take(500, kNow + 1ms), kNow + 125ms);
  EXPECT_EQ(rate.take(1000, kNow + 10s), kNow + 10s) << "what was not used is not made up for";
}

TEST(SendRate, SeveralHaveItTogether) {
  SendRate rate(16'000);
  auto last = kNow;
  for (int i = 0; i < 64; ++i) last = rate.take(rate.piece(500'000), kNow);
  EXPECT_EQ(last, kNow + 63 * 62'500us);
}

TEST(SendRate, ASmallRateIsOne) {
  SendRate rate(3);
  EXPECT_EQ(rate.piece(500), 1u);
  EXPECT_EQ(rate.take(1, kNow), kNow);
  EXPECT_GT(rate.take(1, kNow), kNow + 333ms);
}

}  // namespace
}  // namespace weir::store::send_rate_test
