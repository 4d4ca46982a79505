#include "store/layout.h"

#include <gtest/gtest.h>

namespace weir::store::layout_test {
namespace {

const wal::SegmentSize kSize;

archive::SegmentFileName file(const std::string& name) {
  return *archive::SegmentFileName::parse(name);
}

TEST(Layout, GivesTheKeysOfBarman) {
  const Layout layout(Layout::Form::barman, {"bucket", "pg"}, "main");
  EXPECT_EQ(layout.key(file("000000010000000A00000003.zst")),
            "pg/main/wals/000000010000000A/000000010000000A00000003.zst");
  EXPECT_EQ(layout.key(file("000000010000000A00000003")),
            "pg/main/wals/000000010000000A/000000010000000A00000003");
  EXPECT_EQ(layout.history_key(2), "pg/main/wals/00000002.history");
  EXPECT_EQ(layout.own_key("pgweir.json"), "pg/main/pgweir.json");
  EXPECT_EQ(Layout(Layout::Form::barman, {"bucket", ""}, "main").wal_prefix(), "main/wals/");
}

TEST(Layout, GivesTheKeysOfWalG) {
  const Layout layout(Layout::Form::wal_g, {"bucket", "pg"}, "main");
  EXPECT_EQ(layout.key(file("000000010000000A00000003.zst")),
            "pg/wal_005/000000010000000A00000003.zst");
  EXPECT_EQ(layout.history_key(2), "pg/wal_005/00000002.history");
  EXPECT_EQ(layout.own_key("pgweir.json"), "pg/pgweir.json");
  EXPECT_EQ(Layout(Layout::Form::wal_g, {"bucket", ""}, "").wal_prefix(), "wal_005/");
}

TEST(Layout, ReadsBackTheKeysThatItGives) {
  for (const auto form : {Layout::Form::barman, Layout::Form::wal_g}) {
    const Layout layout(form, {"bucket", "pg"}, "main");
    for (const std::string name : {"000000010000000A00000003", "000000010000000A00000003.zst",
                                   "000000020000000000000001.gz"})
      EXPECT_EQ(layout.file_of(layout.key(file(name))), name);
    EXPECT_EQ(layout.file_of(layout.history_key(2)), "00000002.history");
    EXPECT_EQ(layout.file_of(layout.own_key("pgweir.json")), std::nullopt);
    EXPECT_EQ(layout.file_of(layout.wal_prefix()), std::nullopt);
    EXPECT_EQ(layout.file_of("other/main/wals/00000002.history"), std::nullopt);
  }
  const Layout barman(Layout::Form::barman, {"bucket", "pg"}, "main");
  // Where nobody looks for them.
  EXPECT_EQ(barman.file_of("pg/main/wals/000000010000000A00000003"), std::nullopt);
  EXPECT_EQ(barman.file_of("pg/main/wals/000000020000000A/000000010000000A00000003"), std::nullopt);
  EXPECT_EQ(barman.file_of("pg/main/wals/000000010000000A/x/000000010000000A00000003"),
            std::nullopt);
}

TEST(Layout, ListsFromASegmentOn) {
  for (const auto form : {Layout::Form::barman, Layout::Form::wal_g}) {
    const Layout layout(form, {"bucket", "pg"}, "main");
    // The first one of its log file: the one before is in another directory of Barman's.
    for (const auto segno : {std::uint64_t{256}, std::uint64_t{7}}) {
      const wal::SegmentName segment(1, segno, kSize);
      const wal::SegmentName before(1, segno - 1, kSize);
      const auto after = layout.before(segment, kSize);
      for (const std::string form_name : {"", ".gz", ".lz4", ".zst"}) {
        EXPECT_GT(layout.key(file(segment.to_string() + form_name)), after);
        EXPECT_LT(layout.key(file(before.to_string() + form_name)), after);
      }
    }
  }
}

TEST(Layout, GivesAnEncryptedFileTheNameOfItsContent) {
  for (const auto form : {Layout::Form::barman, Layout::Form::wal_g}) {
    const Layout layout(form, {"b", "p"}, "main");
    const auto file = *archive::SegmentFileName::parse("000000010000000000000003.zst");
    EXPECT_EQ(layout.file_of(layout.key(file) + ".age"), file.to_string());
    EXPECT_EQ(layout.file_of(layout.wal_prefix() + "somebody's.age"), "somebody's.age");
  }
}

TEST(Layout, HasAPlaceForRecordsOfLossesBehindAllWal) {
  for (const auto form : {Layout::Form::barman, Layout::Form::wal_g}) {
    const Layout layout(form, {"b", "p"}, "main");
    for (const std::string name :
         {".pgweir-loss-hole-1-0-3000000", ".pgweir-loss-hole-1-0-3000000.ack",
          ".pgweir-published-000000010000000000000003"}) {
      const auto key = layout.key_of(name);
      ASSERT_TRUE(key);
      EXPECT_EQ(layout.file_of(*key), name);
      EXPECT_LT(layout.wal_prefix() + "~", *key);
    }
    EXPECT_FALSE(layout.key_of(".pgweir-slots"));
    EXPECT_FALSE(layout.key_of("000000010000000000000003.partial"));
    EXPECT_EQ(layout.key_of("00000002.history.lz4"), layout.history_key(2) + ".lz4");
    EXPECT_TRUE(layout.key_of("000000010000000000000002.00000028.backup"));
  }
}

}  // namespace
}  // namespace weir::store::layout_test
