#include "archive/look_again.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace weir::archive::look_again_test {
namespace {

TEST(LookAgain, FollowsASegmentThroughItsChanges) {
  for (int changes = 0; changes < kMostLooksAtSegment; ++changes) {
    int looks = 0;
    EXPECT_EQ(look_again(kMostLooksAtSegment,
                         [&] {
                           if (looks++ < changes) throw system_error(ENOENT, "it is gone");
                           return looks;
                         }),
              changes + 1);
  }
}

TEST(LookAgain, EndsWhereAFileIsAlwaysGone) {
  int looks = 0;
  EXPECT_THROW(look_again(3,
                          [&]() -> int {
                            ++looks;
                            throw system_error(ENOENT, "it is gone");
                          }),
               Error);
  EXPECT_EQ(looks, 3);
}

TEST(LookAgain, PassesOtherErrorsOn) {
  int looks = 0;
  EXPECT_THROW(look_again(3,
                          [&]() -> int {
                            ++looks;
                            throw system_error(EIO, "the disk fails");
                          }),
               Error);
  EXPECT_EQ(looks, 1);
}

TEST(ListUntilSame, NeedsTwoThatAgree) {
  const auto same = [](int one, int other) { return one == other; };
  int lists = 0;
  const int listed[] = {1, 2, 1, 3, 3, 4};
  EXPECT_EQ(list_until_same([&] { return listed[lists++]; }, same), 3);
  EXPECT_EQ(lists, 5);
  lists = 0;
  EXPECT_EQ(list_until_same([&] { return ++lists; }, same), kMostListings);
}

}  // namespace
}  // namespace weir::archive::look_again_test
