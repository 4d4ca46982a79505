#include "base/text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "base/units.h"

namespace weir::text_test {
namespace {

TEST(Text, IsTrimmedAtBothEnds) {
  const struct {
    const char* text;
    const char* trimmed;
  } cases[] = {
      {"", ""}, {" \t\r\n", ""}, {"a b", "a b"}, {" a b\n", "a b"}, {"\va", "a"}, {"a\f", "a"},
  };
  for (const auto& each : cases) EXPECT_EQ(trimmed(each.text), each.trimmed);
}

TEST(ShellWord, IsQuotedIfNecessary) {
  EXPECT_EQ(shell_word("/srv/wal_1.d"), "/srv/wal_1.d");
  EXPECT_EQ(shell_word("/srv/my wal"), "'/srv/my wal'");
  EXPECT_EQ(shell_word("it's"), R"('it'\''s')");
  EXPECT_EQ(shell_word(""), "''");
}

TEST(Number, IsTheWholeTextOrNone) {
  EXPECT_EQ(parse_number<unsigned>("42"), 42u);
  EXPECT_EQ(parse_number<int>("-42"), -42);
  EXPECT_EQ(parse_number<unsigned>("0640", 8), 0640u);
  for (const char* wrong : {"", " 1", "1 ", "1x", "x", "-1", "+1", "4294967296", "0x10"})
    EXPECT_FALSE(parse_number<std::uint32_t>(wrong)) << wrong;
}

TEST(Time, IsWrittenForPeopleAndForPrograms) {
  using namespace std::chrono_literals;
  const auto moment = std::chrono::system_clock::time_point(1'700'000'000'123ms);
  EXPECT_EQ(format_time(moment), "2023-11-14 22:13:20.123 UTC");
  EXPECT_EQ(format_iso_time(moment), "2023-11-14T22:13:20.123Z");
}

}  // namespace
}  // namespace weir::text_test
