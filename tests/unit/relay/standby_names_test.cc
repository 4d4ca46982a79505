#include "relay/standby_names.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace weir::relay::standby_names_test {
namespace {

using wal::Lsn;

TEST(StandbyNames, AreReadAsTheServerReadsThem) {
  const struct {
    const char* text;
    bool any;
    std::size_t count;
    const char* name;
    std::optional<std::size_t> priority;
  } cases[] = {
      {"ANY 1 (a, b)", true, 1, "b", 2},
      {"any 2(a,b,c)", true, 2, "c", 3},
      {"First 2 (a, b)", false, 2, "a", 1},
      {"2 (a, b)", false, 2, "b", 2},
      {"a, b", false, 1, "b", 2},
      {"  a  ", false, 1, "a", 1},
      {"ANY 1 (\"two words\", \"say \"\"x\"\"\")", true, 1, "say \"x\"", 2},
      {"ANY 1 (\"two words\")", true, 1, "two words", 1},
      {"ANY 1 (Standby1)", true, 1, "sTANDBY1", 1},
      {"ANY 1 (a, *)", true, 1, "anybody", 2},
      {"ANY 1 (a, \"*\")", true, 1, "anybody", 2},
      {"ANY 1 (a, b)", true, 1, "c", std::nullopt},
      {"ANY 1 (a)", true, 1, "", std::nullopt},
      {"ANY 1 (s_1$x, 7)", true, 1, "7", 2},
      {"1, 2", false, 1, "2", 2},
      {"1", false, 1, "1", 1},
      {"\"any\", x", false, 1, "ANY", 1},
      {"a, a", false, 1, "a", 1},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    const auto names = StandbyNames::parse(each.text);
    EXPECT_EQ(names.any(), each.any);
    EXPECT_EQ(names.count(), each.count);
    EXPECT_EQ(names.priority_of(each.name), each.priority);
  }
}

TEST(StandbyNames, AreRefusedAsTheServerRefusesThem) {
  for (const auto* text : {"",
                           " ",
                           "ANY",
                           "ANY (a)",
                           "ANY 0 (a)",
                           "0 (a)",
                           "ANY -1 (a)",
                           "ANY 1 a",
                           "ANY 1 ()",
                           "ANY 1 (a",
                           "ANY 1 (a))",
                           "ANY 1 (a,)",
                           "ANY 1 (,a)",
                           "ANY 1 (a b)",
                           "a b",
                           "a,",
                           ",a",
                           "ANY 1 (\"a)",
                           "any",
                           "first, a",
                           "ANY 1 (first)",
                           "a-b",
                           "ANY 99999999999999999999 (a)",
                           "ANY 1 (a) x",
                           "ANY x (a)"}) {
    SCOPED_TRACE(text);
    try {
      static_cast<void>(StandbyNames::parse(text));
      ADD_FAILURE() << "it was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
  }
}

TEST(StandbyNames, SayUpToWhereAsManyHaveCome) {
  const struct {
    const char* names;
    std::vector<StandbyNames::Standby> standbys;
    std::uint64_t reached;
  } cases[] = {
      {"ANY 1 (a, b)", {}, 0},
      {"ANY 1 (a, b)", {{1, Lsn(10)}}, 10},
      {"ANY 1 (a, b)", {{1, Lsn(10)}, {2, Lsn(20)}}, 20},
      {"ANY 2 (a, b, c)", {{1, Lsn(10)}}, 0},
      {"ANY 2 (a, b, c)", {{1, Lsn(10)}, {3, Lsn(30)}, {2, Lsn(20)}}, 20},
      {"ANY 2 (a, b)", {{1, Lsn(0)}, {2, Lsn(20)}}, 0},
      {"FIRST 1 (a, b)", {{2, Lsn(20)}, {1, Lsn(10)}}, 10},
      {"FIRST 1 (a, b)", {{2, Lsn(20)}}, 20},
      {"FIRST 2 (a, b, c)", {{3, Lsn(5)}, {2, Lsn(20)}, {1, Lsn(30)}}, 20},
      {"FIRST 2 (a, b, c)", {{3, Lsn(5)}}, 0},
      {"FIRST 2 (a, b, c)", {{2, Lsn(40)}, {1, Lsn(30)}}, 30},
  };
  for (const auto& [names, standbys, reached] : cases) {
    SCOPED_TRACE(names);
    EXPECT_EQ(StandbyNames::parse(names).reached(standbys), Lsn(reached));
  }
}

}  // namespace
}  // namespace weir::relay::standby_names_test
