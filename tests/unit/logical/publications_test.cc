#include "logical/publications.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/error_of.h"

namespace weir::logical::publications_test {
namespace {

using Names = std::vector<std::string>;

TEST(PublicationNames, AreReadAsTheServerReadsThem) {
  const struct {
    const char* text;
    std::optional<Names> names;
  } cases[] = {
      {"p", Names{"p"}},
      {"p,q", Names{"p", "q"}},
      {"  P ,\tq  ", Names{"p", "q"}},
      {"\"P\",q", Names{"P", "q"}},
      {"\"a\"\"b\" , \"c,d\"", Names{"a\"b", "c,d"}},
      {"\"\"", Names{""}},
      {"\xc3\x84rger", Names{"\xc3\x84rger"}},
      {"", Names{}},
      {"  ", Names{}},
      {"p,", std::nullopt},
      {",p", std::nullopt},
      {"p q", std::nullopt},
      {"\"p", std::nullopt},
      {"\"p\"q", std::nullopt},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    EXPECT_EQ(split_publication_names(each.text), each.names);
  }
}

TEST(PublicationNames, AreCutWhereTheServerCutsThem) {
  const std::string long_name(70, 'x');
  EXPECT_EQ(split_publication_names(long_name), Names{std::string(63, 'x')});
  const std::string wide = std::string(62, 'x') + "\xc3\xa4y";
  EXPECT_EQ(split_publication_names(wide), Names{std::string(62, 'x')});
}

TEST(PublicationNames, AreGivenOnce) {
  EXPECT_EQ(publication_names_of({}), std::nullopt);
  EXPECT_EQ(publication_names_of({{"publication_names", std::nullopt}}), std::nullopt);
  EXPECT_EQ(publication_names_of({{"streaming", "on"}, {"publication_names", "p,q"}}), "p,q");
  const auto error = test::error_of([] {
    static_cast<void>(publication_names_of(
        {{"publication_names", "p"}, {"proto_version", "1"}, {"publication_names", "q"}}));
  });
  EXPECT_EQ(error.kind(), ErrorKind::usage);
}

}  // namespace
}  // namespace weir::logical::publications_test
