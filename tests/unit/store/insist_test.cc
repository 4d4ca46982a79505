#include "store/insist.h"

#include <gtest/gtest.h>

namespace weir::store::insist_test {
namespace {

using namespace std::chrono_literals;

/// A transfer that takes longer than anybody is patient with failures, and breaks.
TEST(Insist, PatienceBeginsWithTheFirstFailure) {
  int asked = 0;
  EXPECT_EQ(insist({.retry_for = 20ms, .seed = 1},
                   [&] {
                     if (++asked > 1) return asked;
                     std::this_thread::sleep_for(30ms);
                     throw StoreError(Trouble::unreachable, "reset");
                   }),
            2);
}

TEST(Insist, WhatDoesNotPassIsNotTriedAgain) {
  for (const auto trouble : {Trouble::refused, Trouble::stopped, Trouble::expired}) {
    int asked = 0;
    EXPECT_THROW(insist({.retry_for = 1h, .seed = 1},
                        [&]() -> bool {
                          ++asked;
                          throw StoreError(trouble, "no");
                        }),
                 StoreError);
    EXPECT_EQ(asked, 1);
  }
}

}  // namespace
}  // namespace weir::store::insist_test
