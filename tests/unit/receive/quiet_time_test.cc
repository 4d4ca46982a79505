#include "receive/quiet_time.h"

#include <gtest/gtest.h>

namespace weir::receive::quiet_time_test {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;

TEST(QuietTime, BeginsWhenThePositionHasStoodStillForAWhileAndIsSaidOnce) {
  QuietTime quiet;
  const Time start{1'000'000ms};
  EXPECT_FALSE(quiet.begins(Lsn(100), start));
  EXPECT_FALSE(quiet.begins(Lsn(100), start + 7'999ms));
  EXPECT_TRUE(quiet.begins(Lsn(100), start + 8s));
  EXPECT_FALSE(quiet.begins(Lsn(100), start + 9s));
  EXPECT_FALSE(quiet.begins(Lsn(100), start + 1h));
}

TEST(QuietTime, EndsWithTheFirstWalAndBeginsAnew) {
  QuietTime quiet;
  const Time start{1'000'000ms};
  EXPECT_FALSE(quiet.begins(Lsn(100), start));
  EXPECT_FALSE(quiet.begins(Lsn(101), start + 8s)) << "something came just now";
  EXPECT_FALSE(quiet.begins(Lsn(101), start + 15'999ms));
  EXPECT_TRUE(quiet.begins(Lsn(101), start + 16s));
  EXPECT_FALSE(quiet.begins(Lsn(102), start + 17s));
  EXPECT_TRUE(quiet.begins(Lsn(102), start + 25s)) << "memory was used since";
}

TEST(QuietTime, TakesTheFirstLookForABegin) {
  QuietTime quiet;
  EXPECT_FALSE(quiet.begins(Lsn(), Time{1'000'000ms})) << "nothing is known of before";
  EXPECT_TRUE(quiet.begins(Lsn(), Time{1'008'000ms}));
}

}  // namespace
}  // namespace weir::receive::quiet_time_test
