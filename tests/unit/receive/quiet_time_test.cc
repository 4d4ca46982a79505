#include "receive/quiet_time.h"

#include <gtest/gtest.h>

namespace weir::receive::quiet_time_test {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;
using Phase = QuietTime::Phase;

TEST(QuietTime, BeginsWhenThePositionHasStoodStillForAWhileAndIsSaidOnce) {
  QuietTime quiet;
  const Time start{1'000'000ms};
  EXPECT_EQ(quiet.look(Lsn(100), start), Phase::none);
  EXPECT_EQ(quiet.look(Lsn(100), start + 7'999ms), Phase::none);
  EXPECT_EQ(quiet.look(Lsn(100), start + 8s), Phase::begins);
  EXPECT_EQ(quiet.look(Lsn(100), start + 9s), Phase::lasts);
  EXPECT_EQ(quiet.look(Lsn(100), start + 1h), Phase::lasts);
}

TEST(QuietTime, EndsWithTheFirstWalAndBeginsAnew) {
  QuietTime quiet;
  const Time start{1'000'000ms};
  EXPECT_EQ(quiet.look(Lsn(100), start), Phase::none);
  EXPECT_EQ(quiet.look(Lsn(101), start + 8s), Phase::none) << "something came just now";
  EXPECT_EQ(quiet.look(Lsn(101), start + 15'999ms), Phase::none);
  EXPECT_EQ(quiet.look(Lsn(101), start + 16s), Phase::begins);
  EXPECT_EQ(quiet.look(Lsn(102), start + 17s), Phase::none);
  EXPECT_EQ(quiet.look(Lsn(102), start + 25s), Phase::begins) << "memory was used since";
}

TEST(QuietTime, TakesTheFirstLookForABegin) {
  QuietTime quiet;
  EXPECT_EQ(quiet.look(Lsn(), Time{1'000'000ms}), Phase::none) << "nothing is known of before";
  EXPECT_EQ(quiet.look(Lsn(), Time{1'008'000ms}), Phase::begins);
}

}  // namespace
}  // namespace weir::receive::quiet_time_test
