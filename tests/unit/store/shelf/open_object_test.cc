#include "store/shelf/open_object.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace weir::store::open_object_test {
namespace {

const auto kSize = *wal::SegmentSize::of(std::uint64_t{1} << 20);
const Layout kBarman(Layout::Form::barman, {"bucket", "p"}, "main");
const Layout kWalG(Layout::Form::wal_g, {"bucket", "p"}, "");

OpenObject object(wal::Lsn end, bool encrypted = false) {
  return {wal::SegmentName(1, 3, kSize), end, "9f3c05d1a7e64b20-12", encrypted};
}

TEST(OpenObject, HasAKeyOfItsOwnThatSaysHowFarItGoes) {
  EXPECT_EQ(
      object(wal::Lsn(0x30A2C18)).key(kBarman),
      "p/main/open/00000001/000000010000000000000003.00000000030A2C18.9f3c05d1a7e64b20-12.zst");
  EXPECT_EQ(
      object(wal::Lsn(0x30A2C18), true).key(kWalG),
      "p/open/00000001/000000010000000000000003.00000000030A2C18.9f3c05d1a7e64b20-12.zst.age");
}

TEST(OpenObject, IsReadFromItsKeyAndFromNoOther) {
  for (const auto& layout : {kBarman, kWalG})
    for (const bool encrypted : {false, true}) {
      const auto whole = object(wal::Lsn(0xFFFFFFFF12345678), encrypted);
      EXPECT_EQ(OpenObject::parse(layout, whole.key(layout)), whole);
    }
  const auto key = object(wal::Lsn(0x30A2C18)).key(kBarman);
  for (std::size_t i = 0; i < key.size(); ++i)
    EXPECT_FALSE(OpenObject::parse(kBarman, key.substr(0, i)));
  const auto changed = [&](const std::string& from, const std::string& to) {
    auto text = key;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  for (const auto& other :
       {changed("open/", "wals/"), changed("/00000001/", "/00000002/"), changed(".zst", ".gz"),
        changed("30A2C18", "30a2c18"), changed("9f3c", "9F3C"), changed("-12", "/12"),
        key + ".age2", changed("9f3c05d1a7e64b20-12", ""), changed("p/main", "p/other")})
    EXPECT_FALSE(OpenObject::parse(kBarman, other)) << other;
}

TEST(OpenObject, TheOneThatGoesFurtherIsBehindInTheOrderOfKeys) {
  EXPECT_LT(object(wal::Lsn(0x30A2C18)).key(kBarman), object(wal::Lsn(0x30B0000)).key(kBarman));
  EXPECT_LT(object(wal::Lsn(0x9FFFFFFF)).key(kBarman), object(wal::Lsn(0x100000000)).key(kBarman));
}

TEST(OpenObject, NobodyTakesItForASegment) {
  const auto key = object(wal::Lsn(0x30A2C18)).key(kBarman);
  EXPECT_FALSE(kBarman.file_of(key));
  EXPECT_FALSE(key.starts_with(kBarman.wal_prefix()));
  EXPECT_FALSE(key.starts_with(kBarman.records_prefix()));
  EXPECT_LT(key, kBarman.wal_prefix()) << "who lists from a segment on does not list it";
  EXPECT_LT(object(wal::Lsn(1)).key(kWalG), kWalG.wal_prefix());
}

}  // namespace
}  // namespace weir::store::open_object_test
