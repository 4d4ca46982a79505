#include "web/html.h"

#include <gtest/gtest.h>

namespace weir::web::html_test {
namespace {

TEST(Html, EscapesWhateverComes) {
  const struct {
    std::string text;
    std::string html;
  } cases[] = {
      {"000000010000000000000001", "000000010000000000000001"},
      {"<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"},
      {"\" onclick='x' &", "&quot; onclick=&#39;x&#39; &amp;"},
      {"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80",
       "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80"},
      {"\xFF<", "\xEF\xBF\xBD&lt;"},
      {"\xC3", "\xEF\xBF\xBD"},
      {"\xC0\xBC", "\xEF\xBF\xBD\xEF\xBF\xBD"},                  // '<', longer than needed
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},  // half of a pair
      {std::string("a\0b", 3),
       "a\xEF\xBF\xBD"
       "b"},
      {"a\x1B[31m\nb\tc\x7F", "a\xEF\xBF\xBD[31m\nb\tc\xEF\xBF\xBD"},
  };
  for (const auto& each : cases) EXPECT_EQ(escaped(each.text), each.html) << each.text;
}

TEST(Html, KeepsANumberAndItsUnitOnOneLine) {
  const struct {
    const char* html;
    const char* kept;
  } cases[] = {
      {"1.5 GB of 4 GB", "1.5\xC2\xA0GB of 4\xC2\xA0GB"},
      {"2 d 4 h",
       "2\xC2\xA0"
       "d 4\xC2\xA0h"},
      {"412 ms, 3 MB/s, 7 s.", "412\xC2\xA0ms, 3\xC2\xA0MB/s, 7\xC2\xA0s."},
      {"6 segments, 2 hours, 3 days, 5 s_", "6 segments, 2 hours, 3 days, 5 s_"},
      {"<b title=\"1 GB\">1 GB</b>", "<b title=\"1 GB\">1\xC2\xA0GB</b>"},
      {"<code>--min-free 1 GB</code> 1 s", "<code>--min-free 1 GB</code> 1\xC2\xA0s"},
      {"<pre>1 GB <i>2 s</i></pre>", "<pre>1 GB <i>2 s</i></pre>"},
      {"<title>1 GB</title><style>a{b:1 s}</style>", "<title>1 GB</title><style>a{b:1 s}</style>"},
      {"1 <b>GB</b>", "1 <b>GB</b>"},
      {"9 ", "9 "},
      {"<code>1 GB", "<code>1 GB"},
      {"", ""},
  };
  for (const auto& each : cases) EXPECT_EQ(units_kept_together(each.html), each.kept);
}

TEST(Html, KeepsPlacesWithinTheDrawing) {
  EXPECT_EQ(percent(0.42125), "42.125%");
  EXPECT_EQ(percent(-1), "0.000%");
  EXPECT_EQ(percent(7), "100.000%");
}

}  // namespace
}  // namespace weir::web::html_test
