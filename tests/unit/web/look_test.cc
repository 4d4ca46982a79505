#include "web/look.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/backup_builder.h"

namespace weir::web::look_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const wal::Lsn kStart(0x3000028);
const wal::Lsn kEnd(0x3000100);

/// What a server archives of a backup when it has ended: the label, and where it ended.
std::string history_of_backup() {
  return test::backup_label(kStart) +
         fmt::format(
             "STOP WAL LOCATION: {} (file 000000010000000000000003)\nSTOP TIME: 2026-11-20 "
             "03:15:15 UTC\nSTOP TIMELINE: 1\n",
             kEnd);
}

TEST(Look, FindsBackupsByTheHistoryFilesOfTheArchive) {
  const test::TemporaryDirectory archive;
  archive.write("000000010000000000000003.00000028.backup", history_of_backup());
  archive.write("000000010000000000000004.00000028.backup", "rubbish");
  const auto look = look_at(archive.path(), {});
  ASSERT_THAT(look.backups, SizeIs(1));
  EXPECT_EQ(look.backups[0].name, "000000010000000000000003.00000028.backup");
  EXPECT_EQ(look.backups[0].start, kStart);
  EXPECT_EQ(look.backups[0].end, kEnd);
  EXPECT_TRUE(look.backups[0].finished);
  EXPECT_THAT(look.report.damaged,
              ElementsAre(HasSubstr("000000010000000000000004.00000028.backup: ")));
}

TEST(Look, TakesABackupThatIsFoundAndItsHistoryFileForOne) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  archive.write("000000010000000000000003.00000028.backup", history_of_backup());
  place.write("monday/backup_label", test::backup_label(kStart));
  place.write("monday/PG_VERSION", "15\n");
  place.write("monday/global/pg_control", "12345678");
  place.write("tuesday/backup_label", test::backup_label(kStart + 0x2000000));
  place.write("tuesday/PG_VERSION", "15\n");
  const auto look = look_at(archive.path(), {place.path()});
  ASSERT_THAT(look.backups, SizeIs(2));
  EXPECT_EQ(look.backups[0].name, place.path("monday"));
  EXPECT_EQ(look.backups[0].end, kEnd) << "by the archive's file";
  EXPECT_EQ(look.backups[1].name, place.path("tuesday"));
  EXPECT_FALSE(look.backups[1].finished);
  EXPECT_FALSE(look.backups_error);
}

TEST(Look, SaysThatAPlaceCouldNotBeSearched) {
  const test::TemporaryDirectory archive;
  const auto look = look_at(archive.path(), {archive.path("nowhere")});
  ASSERT_TRUE(look.backups_error);
  EXPECT_THAT(*look.backups_error, HasSubstr("nowhere"));
  const auto facts = facts_of(&look, archive.path(), SystemTime());
  EXPECT_EQ(facts.backups_error, look.backups_error);
}

}  // namespace
}  // namespace weir::web::look_test
