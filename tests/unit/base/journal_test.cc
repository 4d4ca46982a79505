#include "base/journal.h"

#include <gtest/gtest.h>

namespace weir::journal_test {
namespace {

TEST(Journal, MarksEachLine) {
  EXPECT_EQ(with_priority(LogLevel::warning, "one\n"), "<4>one\n");
  EXPECT_EQ(with_priority(LogLevel::error, "one\n\ntwo\n"), "<3>one\n<3>\n<3>two\n");
  EXPECT_EQ(with_priority(LogLevel::info, "cut"), "<6>cut");
  EXPECT_EQ(with_priority(LogLevel::info, ""), "");
}

}  // namespace
}  // namespace weir::journal_test
