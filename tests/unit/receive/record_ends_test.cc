#include "receive/record_ends.h"

#include <gtest/gtest.h>

namespace weir::receive::record_ends_test {
namespace {

using wal::Lsn;

TEST(RecordEnds, GivesTheLastOneUpToAPosition) {
  RecordEnds ends;
  EXPECT_EQ(ends.last_up_to(Lsn(1000)), std::nullopt);
  for (const auto end : {100, 300, 500}) ends.add(Lsn(end));
  EXPECT_EQ(ends.last_up_to(Lsn(99)), std::nullopt);
  EXPECT_EQ(ends.last_up_to(Lsn(100)), Lsn(100));
  EXPECT_EQ(ends.last_up_to(Lsn(499)), Lsn(300));
  EXPECT_EQ(ends.last_up_to(Lsn(9999)), Lsn(500));
}

TEST(RecordEnds, TakesOnlyWhatLiesBehindTheNewest) {
  RecordEnds ends;
  ends.add(Lsn());
  ends.add(Lsn(500));
  ends.add(Lsn(300));  // a stream that began at its segment again
  ends.add(Lsn(500));
  EXPECT_EQ(ends.last_up_to(Lsn(499)), std::nullopt);
  EXPECT_EQ(ends.last_up_to(Lsn(500)), Lsn(500));
}

TEST(RecordEnds, ForgetsWhatLiesBehindASwitch) {
  RecordEnds ends;
  for (const auto end : {100, 300, 500}) ends.add(Lsn(end));
  ends.cut(Lsn(300));
  EXPECT_EQ(ends.last_up_to(Lsn(9999)), Lsn(300));
  ends.add(Lsn(400));
  EXPECT_EQ(ends.last_up_to(Lsn(9999)), Lsn(400));
  ends.cut(Lsn());
  EXPECT_EQ(ends.last_up_to(Lsn(9999)), std::nullopt);
}

TEST(RecordEnds, AreBoundedAndReachFarBack) {
  RecordEnds ends;
  constexpr std::uint64_t kMany = 100'000;
  for (std::uint64_t i = 1; i <= kMany; ++i) ends.add(Lsn(i * 8));
  EXPECT_EQ(ends.last_up_to(Lsn(kMany * 8)), Lsn(kMany * 8));
  // The first one stays; what is old is known less exactly, and never as what it is not.
  EXPECT_EQ(ends.last_up_to(Lsn(15)), Lsn(8));
  const auto middle = ends.last_up_to(Lsn(kMany * 4));
  ASSERT_TRUE(middle.has_value());
  EXPECT_LE(*middle, Lsn(kMany * 4));
  EXPECT_EQ(middle->byte() % 8, 0U);
  EXPECT_LE(sizeof(ends), 64U);
}

}  // namespace
}  // namespace weir::receive::record_ends_test
