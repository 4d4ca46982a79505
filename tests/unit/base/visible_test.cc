#include "base/visible.h"

#include <gtest/gtest.h>

#include <string_view>

namespace weir::visible_test {
namespace {

using namespace std::string_view_literals;

TEST(Visible, EscapesWhatATerminalWouldDoAndWhatIsNoUtf8) {
  const struct {
    const char* what;
    std::string_view text;
    std::string_view shown;
  } cases[] = {
      {"nothing", ""sv, ""sv},
      {"lines and tabs", "a\n\tb\n"sv, "a\n\tb\n"sv},
      {"UTF-8 of two, three and four bytes", "Größe × 中 😀"sv, "Größe × 中 😀"sv},
      {"a title and a colour", "\x1b]0;owned\a\x1b[31mevil"sv, "\\x1b]0;owned\\x07\\x1b[31mevil"sv},
      {"carriage return, backspace, NUL, DEL", "a\rb\bc\0d\x7f"sv, "a\\x0db\\x08c\\x00d\\x7f"sv},
      {"CSI as one character of Unicode",
       "\xc2\x9b"
       "31m"sv,
       "\\xc2\\x9b31m"sv},
      {"the first character behind C1", "\xc2\xa0"sv, "\xc2\xa0"sv},
      {"CSI as one byte",
       "\x9b"
       "31m"sv,
       "\\x9b31m"sv},
      {"Latin 1", "lat\xe4in"sv, "lat\\xe4in"sv},
      {"cut off", "\xe4\xb8"sv, "\\xe4\\xb8"sv},
      {"longer than it need be", "\xc0\x9b\xe0\x82\x9b"sv, "\\xc0\\x9b\\xe0\\x82\\x9b"sv},
      {"a surrogate", "\xed\xa0\x80"sv, "\\xed\\xa0\\x80"sv},
      {"behind the last character", "\xf4\x90\x80\x80"sv, "\\xf4\\x90\\x80\\x80"sv},
      {"the last character", "\xf4\x8f\xbf\xbf"sv, "\xf4\x8f\xbf\xbf"sv},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.what);
    EXPECT_EQ(visible(one.text), one.shown);
  }
}

}  // namespace
}  // namespace weir::visible_test
