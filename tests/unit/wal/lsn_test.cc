#include "wal/lsn.h"

#include <gtest/gtest.h>

namespace weir::wal::lsn_test {
namespace {

TEST(Lsn, ReadsWhatServersAndToolsWrite) {
  const struct {
    const char* name;
    const char* text;
    std::optional<Lsn> expected;
  } cases[] = {
      {"none", "0/0", Lsn(0)},
      {"ordinary", "16/B374D848", Lsn(0x16B374D848)},
      {"lower case", "0/ab", Lsn(0xAB)},
      {"mixed case", "a/Bc", Lsn(0xA000000BC)},
      {"padded as by PostgreSQL 19", "0/00ABCDEF", Lsn(0xABCDEF)},
      {"both padded", "00000001/00000002", Lsn(0x100000002)},
      {"largest", "FFFFFFFF/FFFFFFFF", Lsn(~std::uint64_t{0})},
      {"empty", "", std::nullopt},
      {"slash alone", "/", std::nullopt},
      {"no slash", "16B374D848", std::nullopt},
      {"no high half", "/1", std::nullopt},
      {"no low half", "1/", std::nullopt},
      {"two slashes", "1/2/3", std::nullopt},
      {"high half too long", "123456789/0", std::nullopt},
      {"low half too long", "0/123456789", std::nullopt},
      {"too long with leading zeros", "0/000000001", std::nullopt},
      {"leading blank", " 0/1", std::nullopt},
      {"trailing blank", "0/1 ", std::nullopt},
      {"newline", "0/1\n", std::nullopt},
      {"blank inside", "0/ 1", std::nullopt},
      {"sign", "-1/1", std::nullopt},
      {"plus sign", "+1/1", std::nullopt},
      {"sign in the low half", "1/-1", std::nullopt},
      {"hex prefix", "0x1/1", std::nullopt},
      {"no hex digit", "0/G", std::nullopt},
      {"other separator", "0-1", std::nullopt},
      {"backslash", "0\\1", std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(Lsn::parse(test.text), test.expected);
  }
  EXPECT_EQ(Lsn::parse(std::string_view("0/1\0", 4)), std::nullopt);
  EXPECT_EQ(Lsn::parse(std::string_view("0/1234", 3)), Lsn(1)) << "reads beyond the view";
}

TEST(Lsn, IsWrittenAsServersWriteIt) {
  const struct {
    Lsn lsn;
    const char* expected;
  } cases[] = {
      {Lsn(), "0/0"},
      {Lsn(0x16B374D848), "16/B374D848"},
      {Lsn(0x100000001), "1/1"},
      {Lsn(0xFFFFFFFF), "0/FFFFFFFF"},
      {Lsn(~std::uint64_t{0}), "FFFFFFFF/FFFFFFFF"},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(test.lsn.to_string(), test.expected);
    EXPECT_EQ(fmt::format("{}", test.lsn), test.expected);
    EXPECT_EQ(Lsn::parse(test.lsn.to_string()), test.lsn);
  }
  EXPECT_EQ(fmt::format("{:>6}|", Lsn(1)), "   0/1|");
}

TEST(Lsn, ComparesAndCountsBytes) {
  EXPECT_LT(Lsn(0xFFFFFFFF), Lsn(0x100000000));
  EXPECT_EQ(Lsn(0xFFFFFFFF) + 1, Lsn(0x100000000));
  EXPECT_EQ(Lsn(0x100000000) - Lsn(0xFFFFFFFF), 1u);
  EXPECT_FALSE(Lsn().valid());
  EXPECT_TRUE(Lsn(1).valid());
}

}  // namespace
}  // namespace weir::wal::lsn_test
