#include "store/send/follow_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/object_store.h"

namespace weir::store::follow_report_test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class Lines final : public Log {
 public:
  void write(LogLevel, std::string_view message) override { lines.emplace_back(message); }
  [[nodiscard]] bool enabled(LogLevel level) const override { return level >= LogLevel::info; }
  std::vector<std::string> lines;
};

class FollowReportTest : public ::testing::Test {
 protected:
  std::vector<std::string> told_;
  int works_ = 0;
  Lines log_;
  FollowReport report_{
      "s3://memory",
      {[this](const Error& error) { told_.push_back(error.message()); }, [this] { ++works_; }},
      false,
      machine_threads(),
      log_};
  const StoreError throttled_{Trouble::throttled, "SlowDown"};
  const StoreError refused_{Trouble::refused, "AccessDenied"};
};

TEST_F(FollowReportTest, TellsTemporaryFailuresFromTheFourthInARow) {
  for (int i = 0; i < 3; ++i) report_.failed(throttled_);
  report_.worked(0);
  for (int i = 0; i < 3; ++i) report_.failed(throttled_);
  EXPECT_THAT(told_, SizeIs(0));
  EXPECT_EQ(works_, 0);
  for (int i = 0; i < 5; ++i) report_.failed(throttled_);
  EXPECT_THAT(told_, SizeIs(1)) << "once";
  EXPECT_EQ(report_.view().problem->reason, "throttled");
  EXPECT_FALSE(report_.view().problem->needs_person);
  EXPECT_EQ(report_.view().failures.at("throttled"), 11u);
  report_.worked(2);
  EXPECT_EQ(works_, 1);
  EXPECT_FALSE(report_.view().problem);
}

TEST_F(FollowReportTest, TellsAtOnceWhatNeedsAPersonButNotAgainLately) {
  report_.failed(refused_);
  EXPECT_THAT(told_, SizeIs(1));
  EXPECT_TRUE(report_.view().problem->needs_person);
  report_.worked(0);
  report_.failed(refused_);
  EXPECT_THAT(told_, SizeIs(1)) << "within a minute";
}

TEST_F(FollowReportTest, TheEndOfTheUploadsIsAProblemThatStays) {
  report_.ended(throttled_);
  report_.worked(0);
  EXPECT_THAT(told_, SizeIs(1));
  ASSERT_TRUE(report_.view().problem);
  EXPECT_EQ(report_.view().problem->text,
            "uploads have ended until the next start: " + throttled_.message());
  EXPECT_TRUE(report_.view().problem->needs_person);
}

TEST_F(FollowReportTest, WhatIsStuckIsToldUntilItIsNot) {
  const UploadItem one{1, wal::SegmentName::parse("000000010000000000000001")};
  report_.stuck(one, "is not sent", Error(ErrorKind::conflict, "other WAL"));
  report_.stuck(one, "is not sent", Error(ErrorKind::conflict, "other WAL"));
  EXPECT_THAT(told_, SizeIs(1));
  report_.worked(0);
  EXPECT_EQ(report_.view().problem->reason, "conflict") << "other files may be sent";
  report_.failed(throttled_);
  EXPECT_EQ(report_.view().problem->reason, "conflict") << "the most severe one";
  report_.unstuck(one);
  EXPECT_EQ(report_.view().problem->reason, "throttled");
}

TEST_F(FollowReportTest, TellsEachReasonWhyNothingIsRemovedOnce) {
  report_.kept("a slot");
  report_.kept("a slot");
  report_.kept("another");
  EXPECT_EQ(report_.view().kept_for, "another");
  EXPECT_THAT(log_.lines, SizeIs(2));
  EXPECT_THAT(log_.lines,
              Contains(HasSubstr("could not remove uploaded segments from the archive: a slot")));
}

}  // namespace
}  // namespace weir::store::follow_report_test
