#include "base/for_each_index.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>

namespace weir::for_each_index_test {
namespace {

TEST(ForEachIndex, CallsEachIndexOnceWithAnyNumberOfThreads) {
  for (const std::size_t jobs : {0, 1, 3, 200})
    for (const std::size_t count : {0, 1, 2, 100}) {
      std::mutex mutex;
      std::multiset<std::size_t> called;
      EXPECT_TRUE(for_each_index(count, jobs, [&](std::size_t i) {
        const std::lock_guard lock(mutex);
        called.insert(i);
        return true;
      }));
      std::multiset<std::size_t> all;
      for (std::size_t i = 0; i < count; ++i) all.insert(i);
      EXPECT_EQ(called, all) << jobs << " threads";
    }
}

TEST(ForEachIndex, EndsEarlyWhereOneSaysSo) {
  std::size_t called = 0;
  EXPECT_FALSE(for_each_index(100, 1, [&](std::size_t i) {
    ++called;
    return i < 4;
  }));
  EXPECT_EQ(called, 5u);
}

TEST(ForEachIndex, RethrowsTheFirstErrorWhenAllHaveReturned) {
  for (const std::size_t jobs : {1, 4}) {
    std::atomic<std::size_t> called = 0;
    std::string caught;
    try {
      for_each_index(1000, jobs, [&](std::size_t i) -> bool {
        ++called;
        if (i == 7) throw std::runtime_error("seven");
        return true;
      });
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
    EXPECT_EQ(caught, "seven");
    EXPECT_GE(called, 8u);
    if (jobs == 1) {
      EXPECT_EQ(called, 8u);
    }
  }
}

}  // namespace
}  // namespace weir::for_each_index_test
