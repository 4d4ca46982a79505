#include "web/look.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/backup_builder.h"

namespace weir::web::look_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

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

const wal::Lsn kMonday(0x5000028);

/// The lines that an incremental backup's label has.
std::string from(wal::Lsn parent) {
  return fmt::format("INCREMENTAL FROM LSN: {}\nINCREMENTAL FROM TLI: 1\n", parent);
}

void write_backup(const test::TemporaryDirectory& place, const std::string& name, wal::Lsn start,
                  const std::string& more = {}) {
  place.write(name + "/backup_label", test::backup_label(start, 1, {}, more));
  place.write(name + "/PG_VERSION", "17\n");
  place.write(name + "/backup_manifest",
              test::backup_manifest(start, start + 0x100, 1, {{"base/5/1259", 8192}}));
}

/// Its begin and its end are those of a manifest.
std::string torn_manifest() {
  auto manifest = test::backup_manifest(kMonday, kMonday + 0x100, 1, {{"base/5/1259", 8192}});
  return manifest.replace(manifest.find("\"Size\": 8192"), 12, "\"Size\": \"\"  ");
}

TEST(Look, FindsBackupsByTheHistoryFilesOfTheArchive) {
  const test::TemporaryDirectory archive;
  archive.write("000000010000000000000003.00000028.backup", history_of_backup());
  archive.write("000000010000000000000004.00000028.backup", "rubbish");
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {}, sizes);
  ASSERT_THAT(look.report.backups, SizeIs(1));
  EXPECT_EQ(look.report.backups[0].name, "000000010000000000000003.00000028.backup");
  EXPECT_EQ(look.report.backups[0].start, kStart);
  EXPECT_EQ(look.report.backups[0].end, kEnd);
  EXPECT_EQ(look.report.backups[0].problem, "");
  EXPECT_FALSE(look.report.backups[0].format) << "its files are elsewhere";
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
  test::write_parts(place, "monday");
  place.write("tuesday/backup_label", test::backup_label(kStart + 0x2000000));
  place.write("tuesday/PG_VERSION", "15\n");
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {place.path()}, sizes);
  ASSERT_THAT(look.report.backups, SizeIs(2));
  EXPECT_EQ(look.report.backups[0].name, place.path("monday"));
  EXPECT_EQ(look.report.backups[0].end, kEnd) << "by the archive's file";
  EXPECT_EQ(look.report.backups[1].name, place.path("tuesday"));
  EXPECT_THAT(look.report.backups[1].problem,
              HasSubstr("neither backup_manifest nor global/pg_control"));
  EXPECT_FALSE(look.report.backups_error);
}

/// Their disk may hang, or their store be slow, while the disk of the archive works.
TEST(Look, TellsWhileItReadsFilesOfBackups) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  archive.write("000000010000000000000003.00000028.backup", history_of_backup());
  write_backup(place, "sunday", kStart);
  std::string told;
  prune::BackupSizes sizes;
  const auto ask_store = [&] {
    told += "asks ";
    return std::vector<prune::FoundBackup>();
  };
  const auto look = look_at(archive.path(), {place.path()}, sizes, ask_store,
                            [&](bool among) { told += among ? "begins " : "ends"; });
  EXPECT_EQ(told, "begins asks ends");
  ASSERT_THAT(look.report.backups, SizeIs(1));
  EXPECT_EQ(look.report.backups[0].name, place.path("sunday"));
  EXPECT_EQ(look.report.backup_places, std::vector{place.path()});
}

TEST(Look, TellsTheKindAndTheSizeOfABackup) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  write_backup(place, "sunday", kStart);
  write_backup(place, "monday", kMonday, from(kStart));
  write_backup(place, "tuesday", kMonday + 0x2000000, from(kMonday));
  place.write("tar/base.tar", test::tar({{"backup_label", test::backup_label(kStart + 0x80)}}));
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {place.path()}, sizes);
  ASSERT_THAT(look.report.backups, SizeIs(4));
  const auto& sunday = look.report.backups[0];
  const auto& tar = look.report.backups[1];
  const auto& monday = look.report.backups[2];
  const auto& tuesday = look.report.backups[3];
  EXPECT_FALSE(sunday.parent);
  EXPECT_EQ(sunday.format, status::StatusReport::Backup::Format::plain);
  EXPECT_EQ(sunday.bytes, 8192U);
  EXPECT_EQ(tar.format, status::StatusReport::Backup::Format::tar);
  EXPECT_EQ(tar.bytes, 2048U);
  EXPECT_EQ(monday.base, place.path("sunday"));
  EXPECT_EQ(tuesday.base, place.path("monday"));
  for (const auto& backup : look.report.backups) EXPECT_EQ(backup.problem, "") << backup.name;
}

TEST(Look, DoesNotCountAnIncrementalBackupWithoutThoseThatItBuildsUpon) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  // The history file of the missing one is not its files.
  archive.write("000000010000000000000003.00000028.backup", history_of_backup());
  write_backup(place, "monday", kMonday, from(kStart));
  write_backup(place, "tuesday", kMonday + 0x2000000, from(kMonday));
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {place.path()}, sizes);
  ASSERT_THAT(look.report.backups, SizeIs(3));
  EXPECT_EQ(look.report.backups[0].problem, "");
  EXPECT_EQ(look.report.backups[1].problem,
            "it is incremental to a backup that started at 0/3000028 on timeline 1, which does not "
            "exist here");
  EXPECT_EQ(look.report.backups[2].problem,
            "it is incremental to " + place.path("monday") + ", which does not count");
}

TEST(Look, DoesNotCountAnIncrementalBackupThatBuildsUponTarFiles) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  place.write("a-tar/base.tar", test::tar({{"backup_label", test::backup_label(kStart)}}));
  write_backup(place, "monday", kMonday, from(kStart));
  prune::BackupSizes sizes;
  const auto told = [&] { return look_at(archive.path(), {place.path()}, sizes).report.backups; };
  auto backups = told();
  ASSERT_THAT(backups, SizeIs(2));
  EXPECT_EQ(backups[0].problem, "");
  EXPECT_THAT(backups[1].problem, HasSubstr("pg_combinebackup requires plain backups"));
  write_backup(place, "extracted", kStart);
  backups = told();
  ASSERT_THAT(backups, SizeIs(3));
  EXPECT_EQ(backups[2].base, place.path("extracted"));
  EXPECT_EQ(backups[2].problem, "");
}

TEST(Look, TellsOfBackupsThatCannotBeRead) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  write_backup(place, "good", kStart);
  place.write("bad/backup_label", "rubbish");
  place.write("new/PG_VERSION", "15\n");
  place.write("torn/backup_label", test::backup_label(kMonday));
  place.write("torn/PG_VERSION", "15\n");
  place.write("torn/backup_manifest", torn_manifest());
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {place.path()}, sizes);
  ASSERT_THAT(look.report.backups, SizeIs(4));
  EXPECT_EQ(look.report.backups[0].name, place.path("good"));
  EXPECT_EQ(look.report.backups[0].problem, "");
  EXPECT_EQ(look.report.backups[1].name, place.path("torn"));
  EXPECT_THAT(look.report.backups[1].problem, HasSubstr("list of files is damaged"));
  EXPECT_EQ(look.report.backups[2].name, place.path("bad"));
  EXPECT_THAT(look.report.backups[2].problem, HasSubstr("backup_label"));
  EXPECT_EQ(look.report.backups[3].name, place.path("new"));
  EXPECT_THAT(look.report.backups[3].problem, HasSubstr("backup_label does not exist yet"));
}

TEST(Look, TakesTheTimeFromTheNameThatPgweirHasGiven) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  write_backup(place, "20261121T000000Z/data", kStart);
  write_backup(place, "20261320T031415Z", kMonday);
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {place.path()}, sizes);
  ASSERT_THAT(look.report.backups, SizeIs(2));
  const auto began = [&](std::size_t i) {
    return look.report.backups[i].began.value().to_string();
  };
  EXPECT_THAT(began(0), StartsWith("2026-11-21 00:00:00"));
  EXPECT_THAT(began(1), StartsWith("2026-11-20 03:14:15")) << "that of its label";
}

TEST(Look, TellsOfEachCopyOfABackup) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory place;
  write_backup(place, "a", kStart);
  place.write("b/backup_label", test::backup_label(kStart));
  place.write("b/PG_VERSION", "15\n");
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {place.path()}, sizes);
  ASSERT_THAT(look.report.backups, SizeIs(2));
  EXPECT_EQ(look.report.backups[0].name, place.path("a"));
  EXPECT_EQ(look.report.backups[0].problem, "") << "the other one is not finished";
  EXPECT_NE(look.report.backups[1].problem, "");
}

TEST(Look, SaysThatAPlaceCouldNotBeSearched) {
  const test::TemporaryDirectory archive;
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {archive.path("nowhere")}, sizes);
  ASSERT_TRUE(look.report.backups_error);
  EXPECT_THAT(*look.report.backups_error, HasSubstr("nowhere"));
  const auto facts = facts_of(&look, archive.path(), SystemTime(), std::nullopt);
  EXPECT_EQ(facts.report.backups_error, look.report.backups_error);
  EXPECT_FALSE(facts.report.silent_since);
}

TEST(Look, IsNoNewsWhileTheNextOneDoesNotReturn) {
  const test::TemporaryDirectory archive;
  prune::BackupSizes sizes;
  const auto look = look_at(archive.path(), {}, sizes);
  const SystemTime since = look.at + std::chrono::minutes(1);
  for (const auto* before : {&look, static_cast<const Look*>(nullptr)}) {
    const auto facts = facts_of(before, archive.path(), since, since);
    EXPECT_EQ(facts.report.directory, archive.path());
    EXPECT_EQ(facts.report.silent_since, since);
  }
}

}  // namespace
}  // namespace weir::web::look_test
