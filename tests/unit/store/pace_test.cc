#include "store/pace.h"

#include <gtest/gtest.h>

namespace weir::store::pace_test {
namespace {

using namespace std::chrono_literals;

TEST(RetryPolicy, WaitsAnyTimeUpToABoundThatDoubles) {
  auto bound = 100ms;
  std::chrono::milliseconds most{};
  for (int attempt = 0; attempt < 40; ++attempt) {
    std::chrono::milliseconds longest{};
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      RetryPolicy policy(seed);
      for (int before = 0; before < attempt; ++before) static_cast<void>(policy.next());
      longest = std::max(longest, policy.next());
    }
    EXPECT_LE(longest, bound);
    EXPECT_GE(longest, bound / 2);
    bound = std::min(bound * 2, std::chrono::milliseconds(60s));
    most = std::max(most, longest);
  }
  EXPECT_LE(most, 60s);
  EXPECT_GT(most, 50s);
}

TEST(RetryPolicy, BeginsAgainAfterASuccess) {
  RetryPolicy policy(7);
  for (int i = 0; i < 20; ++i) static_cast<void>(policy.next());
  policy.reset();
  EXPECT_LE(policy.next(), 100ms);
}

TEST(RequestWindow, IsHalvedWhenTheStoreAsksForItAndComesBack) {
  RequestWindow window(8);
  window.on_throttled();
  EXPECT_EQ(window.size(), 4u);
  for (int i = 0; i < 5; ++i) window.on_throttled();
  EXPECT_EQ(window.size(), 1u);
  for (std::size_t i = 0; i < RequestWindow::kDoneForOneMore; ++i) window.on_done();
  EXPECT_EQ(window.size(), 2u);
  for (std::size_t i = 0; i < 100 * RequestWindow::kDoneForOneMore; ++i) window.on_done();
  EXPECT_EQ(window.size(), 8u);
}

}  // namespace
}  // namespace weir::store::pace_test
