#include "wal/ancestor_history.h"

#include <gtest/gtest.h>

namespace weir::wal::ancestor_history_test {
namespace {

TEST(AncestorHistory, IsTheLinesBeforeItsOwn) {
  const std::string first = "1\t0/100\tx\n";
  const std::string second = "2\t0/300\tx\n";
  const std::string third = "3\t0/200\tbefore the switch to 3\n";
  const struct {
    const char* name;
    std::string descendant;
    TimelineId ancestor;
    std::optional<std::string> content;
  } cases[] = {
      {"of the parent", first + "\n" + second, 2, first},
      {"of its parent", first + "\n" + second + "\n" + third, 2, first},
      {"without an empty line between", first + second + third, 3, first + second},
      {"of one that was not replayed", first + "\n" + second + "\n" + third, 3,
       first + "\n" + second},
      {"blanks, and no newline at the end", first + "2 0/300", 2, first},
      {"with comments", "# 2\n" + first + "#\n" + second, 2, "# 2\n" + first + "#\n"},
      {"the oldest one has none", first + "\n" + second, 1, std::nullopt},
      {"the server had no file of the parent", second, 2, std::nullopt},
      {"its own", first + "\n" + second, 3, std::nullopt},
      {"of another branch", first + "\n" + third, 2, std::nullopt},
      {"nothing valid before it", second + first + third, 3, std::nullopt},
      {"empty", "", 1, std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(ancestor_history(test.descendant, test.ancestor), test.content);
  }
}

}  // namespace
}  // namespace weir::wal::ancestor_history_test
