#include "receive/refusals.h"

#include <gtest/gtest.h>

namespace weir::receive::refusals_test {
namespace {

using namespace std::chrono_literals;

const Error kGap(ErrorKind::gap, "gone");
const Error kSettings(ErrorKind::refused, "no slot");

TEST(Refusals, EndWithTheLastHost) {
  Refusals refusals;
  EXPECT_TRUE(refusals.add(1, 3, kGap));
  EXPECT_TRUE(refusals.add(1, 3, kGap));  // once more the same
  EXPECT_TRUE(refusals.add(0, 3, kSettings));
  EXPECT_TRUE(refusals.passes_over(0, 3));
  EXPECT_FALSE(refusals.passes_over(2, 3));
  EXPECT_FALSE(refusals.add(2, 3, kSettings));
  EXPECT_FALSE(refusals.passes_over(0, 3));  // all of them
  EXPECT_EQ(refusals.hosts(), (std::set<int>{0, 1, 2}));
  EXPECT_EQ(refusals.for_gap(), std::set<int>{1});
}

TEST(Refusals, KeepTheReasonThatIsAboutTheWal) {
  Refusals refusals;
  ASSERT_TRUE(refusals.add(0, 3, kSettings));
  EXPECT_FALSE(refusals.why());
  ASSERT_TRUE(refusals.add(1, 3, kGap));
  ASSERT_TRUE(refusals.add(0, 3, kSettings));
  ASSERT_TRUE(refusals.why());
  EXPECT_EQ(refusals.why()->message(), "gone");
  refusals.forget_hosts();
  EXPECT_TRUE(refusals.hosts().empty());
  EXPECT_TRUE(refusals.for_gap().empty());
  EXPECT_TRUE(refusals.why());
  refusals.clear();
  EXPECT_FALSE(refusals.why());
}

TEST(Refusals, AreForgottenIfTheyAreNotAboutTheWal) {
  Refusals refusals;
  ASSERT_TRUE(refusals.add(0, 5, kSettings));
  ASSERT_TRUE(refusals.add(1, 5, kGap));
  ASSERT_TRUE(refusals.add(2, 5, Error(ErrorKind::conflict, "other WAL")));
  ASSERT_TRUE(refusals.add(2, 5, kSettings));
  EXPECT_TRUE(refusals.forget_settings());
  EXPECT_EQ(refusals.hosts(), (std::set<int>{1, 2}));
  EXPECT_EQ(refusals.for_gap(), std::set<int>{1});
  refusals.forget_hosts();
  ASSERT_TRUE(refusals.add(1, 5, kSettings));
  EXPECT_TRUE(refusals.forget_settings());
  EXPECT_TRUE(refusals.hosts().empty());
  EXPECT_FALSE(refusals.forget_settings());
}

TEST(Refusals, WaitOnlyWhereThereIsAReason) {
  Refusals refusals;
  refusals.on_wait(10s);
  EXPECT_FALSE(refusals.has_waited(1s));
  ASSERT_TRUE(refusals.add(0, 2, kGap));
  refusals.on_wait(600ms);
  EXPECT_FALSE(refusals.has_waited(1s));
  refusals.on_wait(600ms);
  EXPECT_TRUE(refusals.has_waited(1s));
  refusals.forget_hosts();
  EXPECT_TRUE(refusals.has_waited(1s));
  refusals.clear();
  EXPECT_FALSE(refusals.has_waited(1s));
}

TEST(Refusals, GiveUpHostsThatDoNotAnswerForLong) {
  Refusals refusals;
  const auto verdict = [](int host, Eligibility eligibility) {
    HostVerdict made;
    made.index = host;
    made.eligibility = eligibility;
    return made;
  };
  const Time begin{};
  refusals.on_verdicts({verdict(0, Eligibility::unresponsive), verdict(1, Eligibility::behind)},
                       begin);
  refusals.on_verdicts({verdict(0, Eligibility::unresponsive), verdict(1, Eligibility::behind)},
                       begin + 5s);
  EXPECT_TRUE(refusals.some_unsettled());
  EXPECT_TRUE(refusals.given_up(10s, begin + 9s).empty());
  EXPECT_EQ(refusals.given_up(10s, begin + 10s), (std::set<int>{0, 1}));
  refusals.on_verdicts({verdict(0, Eligibility::unresponsive), verdict(1, Eligibility::eligible)},
                       begin + 11s);
  EXPECT_EQ(refusals.given_up(10s, begin + 11s), std::set<int>{0});
  refusals.clear();
  EXPECT_FALSE(refusals.some_unsettled());
}

}  // namespace
}  // namespace weir::receive::refusals_test
