#include "base/backoff.h"

#include <gtest/gtest.h>

namespace weir::backoff_test {
namespace {

using namespace std::chrono_literals;

TEST(Backoff, DoublesUpToItsLimitAndTakesOffAtMostAHalf) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(seed);
    Backoff backoff(200ms, 30'000ms, seed);
    auto full = 200ms;
    for (int attempt = 0; attempt < 20; ++attempt) {
      const auto wait = backoff.next();
      EXPECT_LE(wait, full);
      EXPECT_GE(wait, full / 2);
      full = std::min<std::chrono::milliseconds>(full * 2, 30'000ms);
    }
    EXPECT_EQ(full, 30'000ms);
  }
}

TEST(Backoff, BeginsAnewAfterAReset) {
  Backoff backoff(200ms, 30'000ms, 7);
  for (int attempt = 0; attempt < 10; ++attempt) static_cast<void>(backoff.next());
  backoff.reset();
  EXPECT_LE(backoff.next(), 200ms);
}

TEST(Backoff, IsDecidedByItsSeedAlone) {
  Backoff one(200ms, 30'000ms, 7);
  Backoff same(200ms, 30'000ms, 7);
  Backoff other(200ms, 30'000ms, 8);
  int different = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto wait = one.next();
    EXPECT_EQ(wait, same.next());
    different += wait != other.next() ? 1 : 0;
  }
  EXPECT_GT(different, 0) << "many receivers would come back in step";
}

}  // namespace
}  // namespace weir::backoff_test
