#include "backup/standing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/backup_builder.h"

namespace weir::backup::standing_test {
namespace {

using State = prune::FoundBackup::State;

TEST(Standing, CountsNoManifestWithoutItsDataFiles) {
  const test::TemporaryDirectory place;
  const auto put = [&](const std::string& name, std::uint64_t start) {
    place.write(name + "/backup_manifest",
                test::backup_manifest(wal::Lsn(start), wal::Lsn(start + 0x100)));
  };
  put("20261120T010203Z", 0x3000028);
  place.write("20261120T010203Z/PG_VERSION", "15\n");
  put("20261121T010203Z", 0x4000028);
  for (const auto depth : {archive::Depth::names, archive::Depth::whole}) {
    const auto all = find_standing(place.path(), nullptr, depth);
    ASSERT_EQ(all.size(), 2U);
    EXPECT_TRUE(all[0].good()) << all[0].why;
    EXPECT_EQ(all[0].found.state, State::finished);
    EXPECT_EQ(all[1].why, "its data files do not exist here");
    EXPECT_EQ(all[1].found.state, State::unfinished);
  }
}

/// Its end is not known: the archive must have its start.
TEST(Standing, CountsNoBackupWithoutAManifestWhoseWalIsNotThere) {
  const test::TemporaryDirectory place;
  place.write("20261120T010203Z/backup_label", test::backup_label(wal::Lsn(0x3000028)));
  place.write("20261120T010203Z/PG_VERSION", "15\n");
  place.write("20261120T010203Z/global/pg_control", "12345678");
  test::write_parts(place, "20261120T010203Z");
  const auto why = [&](std::uint64_t begin, std::uint64_t end) {
    const std::vector<prune::Line> lines = {
        {wal::TimelineHistory(1), {{wal::Lsn(begin), wal::Lsn(end)}}}};
    const auto all = find_standing(place.path(), &lines);
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? std::string("it was not found") : all[0].why;
  };
  EXPECT_EQ(why(0x3000000, 0x4000000), "");
  EXPECT_EQ(why(0xB000000, 0xC000000),
            "the archive begins at 0/B000000, after the start of the backup at 0/3000028");
  EXPECT_EQ(why(0x1000000, 0x3000000),
            "the archive ends at 0/3000000, before the start of the backup at 0/3000028");
  const auto all = find_standing(place.path(), nullptr);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_TRUE(all[0].good()) << "the archive was not asked: " << all[0].why;
}

TEST(Standing, CountsNoIncrementalBackupThatBuildsUponTarFiles) {
  const test::TemporaryDirectory place;
  const wal::Lsn base(0x3000028);
  const wal::Lsn next(0x5000028);
  const auto put = [&](const std::string& name, wal::Lsn start, const std::string& more) {
    place.write(name + "/backup_label", test::backup_label(start, 1, {}, more));
    place.write(name + "/PG_VERSION", "17\n");
    place.write(name + "/backup_manifest", test::backup_manifest(start, start + 0x100));
  };
  place.write("20261120T010203Z/base.tar", test::tar({{"backup_label", test::backup_label(base)}}));
  put("20261121T010203Z", next,
      fmt::format("INCREMENTAL FROM LSN: {}\nINCREMENTAL FROM TLI: 1\n", base));
  auto all = find_standing(place.path(), nullptr);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_TRUE(all[0].good()) << all[0].why;
  EXPECT_THAT(all[1].why, ::testing::HasSubstr("pg_combinebackup requires plain backups"));
  put("extracted", base, {});
  all = find_standing(place.path(), nullptr);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[2].base, "extracted");
  EXPECT_TRUE(all[2].good()) << all[2].why;
}

}  // namespace
}  // namespace weir::backup::standing_test
