#include "store/send/keep_local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::store::keep_local_test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const wal::SegmentSize kSize;
constexpr std::chrono::system_clock::time_point kNow{1'000'000s};

wal::SegmentName segment(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, segno, kSize};
}
/// 1 to 6, of 10 bytes, each a minute younger than the one before; all are sent.
std::vector<LocalSegments> six() {
  std::vector<LocalSegments> all;
  for (std::uint64_t segno = 1; segno <= 6; ++segno)
    all.push_back({segno, {segment(segno)}, 10, kNow - (7 - segno) * 1min});
  return all;
}
Mark sent(std::uint64_t first, std::uint64_t last) {
  Mark mark;
  mark.segment_size = kSize;
  mark.sent.push_back({segment(first), segment(last)});
  return mark;
}
std::vector<std::uint64_t> numbers(const MayGo& result) {
  std::vector<std::uint64_t> all;
  for (const auto& number : result.numbers) all.push_back(number.segno);
  return all;
}
using Numbers = std::vector<std::uint64_t>;

TEST(KeepLocal, KeepsSoManyBytes) {
  const auto of = [](std::uint64_t bytes) {
    return numbers(may_go(six(), {.bytes = bytes}, sent(1, 6), std::nullopt, kNow));
  };
  EXPECT_EQ(of(60), Numbers());
  EXPECT_EQ(of(59), Numbers({1}));
  EXPECT_EQ(of(30), Numbers({1, 2, 3}));
  EXPECT_EQ(of(1), Numbers({1, 2, 3, 4, 5})) << "never the newest";
}

TEST(KeepLocal, KeepsWhatIsYoung) {
  const auto of = [](std::chrono::milliseconds age) {
    return numbers(may_go(six(), {.age = age}, sent(1, 6), std::nullopt, kNow));
  };
  EXPECT_EQ(of(10min), Numbers());
  EXPECT_EQ(of(4min), Numbers({1, 2}));
  EXPECT_EQ(of(1ms), Numbers({1, 2, 3, 4, 5}));
}

TEST(KeepLocal, LeavesNoGap) {
  auto all = six();
  all[1].written = kNow;  // imported just now
  EXPECT_EQ(numbers(may_go(all, {.age = 1min}, sent(1, 6), std::nullopt, kNow)), Numbers({1}));
}

TEST(KeepLocal, StopsAtWhatIsNotSent) {
  Mark mark = sent(1, 2);
  mark.sent.push_back({segment(4), segment(6)});
  const auto result = may_go(six(), {.bytes = 1}, mark, std::nullopt, kNow);
  EXPECT_EQ(numbers(result), Numbers({1, 2}));
  EXPECT_THAT(result.kept_for, HasSubstr(segment(3).to_string()));
}

TEST(KeepLocal, TimelinesOfOnePositionGoTogether) {
  auto all = six();
  all[2].segments.push_back(segment(3, 2));
  all[5].segments = {segment(6, 2)};
  Mark mark = sent(1, 5);
  EXPECT_EQ(numbers(may_go(all, {.bytes = 1}, mark, std::nullopt, kNow)), Numbers({1, 2}));
  mark.sent.push_back({segment(3, 2), segment(6, 2)});
  EXPECT_EQ(numbers(may_go(all, {.bytes = 1}, mark, std::nullopt, kNow)), Numbers({1, 2, 3, 4, 5}));
}

TEST(KeepLocal, TheNewestIsThatOfTheNewestTimeline) {
  auto all = six();
  all[3].segments.push_back(segment(4, 2));
  Mark mark = sent(1, 6);
  mark.sent.push_back({segment(4, 2), segment(4, 2)});
  EXPECT_EQ(numbers(may_go(all, {.bytes = 1}, mark, std::nullopt, kNow)), Numbers({1, 2, 3}));
}

TEST(KeepLocal, ASlotHolds) {
  const auto result = may_go(six(), {.bytes = 1}, sent(1, 6), kSize.start(3) + 4711, kNow);
  EXPECT_EQ(numbers(result), Numbers({1, 2}));
  EXPECT_THAT(result.kept_for, HasSubstr("slot"));
}

}  // namespace
}  // namespace weir::store::keep_local_test
