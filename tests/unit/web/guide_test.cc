#include "web/guide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "status/findings.h"
#include "web/assets.h"

namespace weir::web::guide_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Guide, ReadsWhatTheChapterUses) {
  const struct {
    const char* markdown;
    const char* html;
  } cases[] = {
      {"# A & B\n", "<h1 id=\"a--b\">A &amp; B</h1>\n"},
      {"## `status -d`, `doctor`",
       "<h2 id=\"status--d-doctor\"><code>status -d</code>, "
       "<code>doctor</code></h2>\n"},
      {"one\ntwo\n\nthree", "<p>one two</p>\n<p>three</p>\n"},
      {"- a\n  b\n- **c**\n", "<ul>\n<li>a b</li>\n<li><strong>c</strong></li>\n</ul>\n"},
      {"| a | b |\n|---|---|\n| `x|y` | <i> |\n",
       "<div class=\"scroll\"><table>\n<tr><th>a</th><th>b</th></tr>\n"
       "<tr><td><code>x|y</code></td><td>&lt;i&gt;</td></tr>\n</table></div>\n"},
      {"[here](#there), [there](serve.md)", "<p><a href=\"#there\">here</a>, there</p>\n"},
      {"    code <b>\n", "<pre>code &lt;b&gt;\n</pre>\n"},
      {"```\n<a>\n```\n", "<pre>&lt;a&gt;\n</pre>\n"},
      {"a `b", "<p>a `b</p>\n"},
      {"| a \\| b |\n", "<div class=\"scroll\"><table>\n<tr><th>a | b</th></tr>\n</table></div>\n"},
      {"| a |\nbehind it\n",
       "<div class=\"scroll\"><table>\n<tr><th>a</th></tr>\n</table></div>\n<p>behind it</p>\n"},
  };
  for (const auto& each : cases) EXPECT_EQ(guide_html(each.markdown), each.html) << each.markdown;
}

TEST(Guide, HasTheChapterOfEveryAdvice) {
  for (const auto topic : status::all_topics()) {
    const auto words = status::words_of(topic);
    const auto all = guides();
    const auto guide = std::find_if(all.begin(), all.end(),
                                    [&](const auto& each) { return each.page == words.page; });
    ASSERT_NE(guide, all.end()) << words.page;
    EXPECT_THAT(guide_html(guide->markdown),
                HasSubstr(" id=\"" + chapter_anchor(words.chapter) + "\">"))
        << words.chapter;
    EXPECT_FALSE(words.hint.empty());
  }
}

TEST(Guide, LinksToOtherGuidesAndToNothingElse) {
  EXPECT_EQ(guide_html("[a](ha.md#the-drill), [b](compare.md), [c](store.md#x), [d](https://e.md)"),
            "<p><a href=\"ha#the-drill\">a</a>, <a href=\"compare\">b</a>, c, d</p>\n");
  EXPECT_EQ(chapter_link("ha", "Slots on every server"),
            "<a href=\"ha#slots-on-every-server\">Failover: Slots on every server</a>");
}

TEST(Guide, HasIndentedCode) {
  EXPECT_EQ(guide_html("a:\n\n    b <\n\n      c\n\nd\n"),
            "<p>a:</p>\n<pre>b &lt;\n\n  c\n</pre>\n<p>d</p>\n");
  EXPECT_EQ(guide_html("- a\n    b\n"), "<ul>\n<li>a b</li>\n</ul>\n") << "goes on with the item";
}

TEST(Assets, KeepToThePolicy) {
  EXPECT_THAT(std::string(kScript), Not(HasSubstr("eval(")));
  EXPECT_THAT(std::string(kScript), Not(HasSubstr("://")));
  EXPECT_THAT(std::string(kStyle), Not(HasSubstr("url(")));
  EXPECT_THAT(std::string(kStyle), Not(HasSubstr("@import")));
}

}  // namespace
}  // namespace weir::web::guide_test
