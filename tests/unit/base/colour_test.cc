#include "base/colour.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/descriptor.h"

namespace weir::colour_test {
namespace {

TEST(Colour, IsForTheWordsThatDecide) {
  const struct {
    const char* text;
    const char* shown;
  } cases[] = {
      {"[  ok  ] disk: quick\n", "\x1b[32m[  ok  ]\x1b[0m disk: quick\n"},
      {"  HOLE: 2 segments\n    why\n", "  \x1b[1;31mHOLE:\x1b[0m 2 segments\n    why\n"},
      {"  1 |██×█|\n", "  1 |██\x1b[1;31m×\x1b[0m█|\n"},
      {"durable up to 0/1, caught up", "durable up to 0/1, \x1b[32mcaught up\x1b[0m"},
      {"pgweir: error: no\npgweir: hint: yes\n",
       "\x1b[1;31mpgweir: error:\x1b[0m no\npgweir: hint: yes\n"},
      {"a file named HOLE: is none\n", "a file named HOLE: is none\n"},
      {"\n\n", "\n\n"},
      {"", ""},
  };
  for (const auto& each : cases) EXPECT_EQ(coloured(each.text), each.shown) << each.text;
}

TEST(Colour, ChangesNothingButColours) {
  std::string text = "PGWEIR CRITICAL - x\n  DAMAGED: ×\nNOT SOUND: 1 finding\n  WARNING: y";
  std::string bare;
  const auto shown = coloured(text);
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (shown[i] == '\x1b')
      i = shown.find('m', i);
    else
      bare += shown[i];
  }
  EXPECT_EQ(bare, text);
}

TEST(Colour, IsForATerminalThatWantsIt) {
  const Descriptor terminal(::posix_openpt(O_RDWR | O_NOCTTY));
  ASSERT_TRUE(terminal);
  const Descriptor file(::open("/dev/null", O_RDWR));
  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  EXPECT_TRUE(shows_colour(terminal.get()));
  EXPECT_FALSE(shows_colour(file.get()));
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(shows_colour(terminal.get()));
  ::setenv("NO_COLOR", "", 1);  // empty says nothing
  EXPECT_TRUE(shows_colour(terminal.get()));
  ::setenv("TERM", "dumb", 1);
  EXPECT_FALSE(shows_colour(terminal.get()));
  ::unsetenv("NO_COLOR");
}

}  // namespace
}  // namespace weir::colour_test
