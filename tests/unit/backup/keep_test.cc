#include "backup/keep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>

#include "archive/home.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "io/posix_directory.h"
#include "store/ledger/mark.h"
#include "support/archive_builder.h"
#include "support/backup_builder.h"
#include "support/bytes.h"
#include "support/error_of.h"

namespace weir::backup::keep_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using verify::kSize;

/// Segments 1 to 8, and backups that each start and end in one segment.
struct World {
  World() {
    testing::WalBuilder one(testing::WalBuilder::Options{});
    one.grow_to(kSize.start(9));
    archive.segments(one, 1, 9);
  }
  static wal::Lsn start_in(std::uint64_t segno) { return kSize.start(segno) + 0x28; }
  void put(const std::string& name, std::uint64_t segno, std::optional<std::uint64_t> base = {}) {
    const auto start = start_in(segno);
    place.write(name + "/PG_VERSION", "15\n");
    place.write(name + "/backup_manifest", test::backup_manifest(start, start + 0x1000));
    if (base)
      place.write(name + "/backup_label",
                  test::backup_label(start, 1, kSize,
                                     fmt::format("INCREMENTAL FROM LSN: {}\nINCREMENTAL FROM TLI: "
                                                 "1\n",
                                                 start_in(*base))));
  }
  void put_tar(const std::string& name, std::uint64_t segno) {
    const auto start = start_in(segno);
    place.write(
        name + "/base.tar",
        test::tar({{"backup_label", test::backup_label(start, 1, kSize)}, {"PG_VERSION", "15\n"}}));
    place.write(name + "/backup_manifest", test::backup_manifest(start, start + 0x1000));
  }
  Report apply(std::size_t count, bool dry_run = true) {
    const auto shelf = archive.disk.open();
    const auto to = io::open_directory(place.path());
    Options options;
    options.to = place.path();
    options.rules.count = count;
    options.dry_run = dry_run;
    options.stop = [] { return false; };
    prune::ArchiveWal facts(*shelf, options.stop);
    const auto standing = find_standing(options.to, &facts.lines());
    for (const auto& each : standing) EXPECT_TRUE(each.good()) << each.name << ": " << each.why;
    Report report;
    apply_rules(*shelf, *to, options, facts, standing, report);
    return report;
  }
  verify::ArchiveBuilder archive;
  test::TemporaryDirectory place;
};

TEST(Keep, RemovesWhatNoRuleNeedsAndItsWal) {
  World world;
  world.put("20261120T010203Z", 3);
  world.put("20261121T010203Z", 5);
  world.put("20261122T010203Z", 7);
  const auto report = world.apply(1);
  EXPECT_THAT(report.removed, ElementsAre("20261121T010203Z", "20261120T010203Z"));
  EXPECT_EQ(report.wal_files, 6u);
  EXPECT_THAT(report.notes, IsEmpty());
}

TEST(Keep, LeavesWalThatIsNotUploadedYet) {
  World world;
  world.put("20261120T010203Z", 3);
  world.put("20261122T010203Z", 7);
  {
    const auto directory = world.archive.disk.open();
    const auto cluster = archive::read_identity(*directory, archive::list_archive(*directory));
    store::Mark mark{"s3://backup/pg/main", cluster->system_identifier, kSize, {}, {}};
    mark.add(wal::SegmentName(1, 1, kSize));
    archive::DirectoryHome home(*directory);
    store::keep_mark(home, mark);
  }
  const auto report = world.apply(1);
  EXPECT_THAT(report.removed, ElementsAre("20261120T010203Z"));
  EXPECT_EQ(report.wal_files, 1u);
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("has not been uploaded to s3://backup/pg/main")));
}

/// What prevents the removal of WAL is noticed before a base backup is removed.
TEST(Keep, RemovesNothingIfItIsUnknownWhatIsUploaded) {
  World world;
  world.put("20261120T010203Z", 3);
  world.put("20261122T010203Z", 7);
  world.archive.disk.put(std::string(store::kMarkName),
                         test::bytes_of("{\"version\": 1, \"store\""));
  const auto error = test::error_of([&] { static_cast<void>(world.apply(1, false)); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_TRUE(std::filesystem::exists(world.place.path("20261120T010203Z/PG_VERSION")));
}

TEST(Keep, LeavesADirectoryThatContainsAnotherBackup) {
  World world;
  world.put_tar("20261120T010203Z", 3);
  world.put("20261120T010203Z/before-upgrade", 5);
  world.put("20261122T010203Z", 7);
  // The inner one is kept by the rule; or it stays, because pgweir did not create it.
  for (const std::size_t count : {2, 1}) {
    SCOPED_TRACE(count);
    const auto report = world.apply(count);
    EXPECT_THAT(report.removed, IsEmpty());
    EXPECT_EQ(report.wal_files, 4u);
    EXPECT_THAT(report.notes,
                Contains(HasSubstr("20261120T010203Z: no longer needed, but not removed, because "
                                   "its directory contains the backup")));
  }
}

TEST(Keep, KeepsTheWalOfWhatItDoesNotRemove) {
  World world;
  world.put("before-upgrade", 3);
  world.put("20261121T010203Z", 5);
  world.put("20261122T010203Z", 7);
  const auto report = world.apply(1);
  EXPECT_THAT(report.removed, ElementsAre("20261121T010203Z"));
  EXPECT_EQ(report.wal_files, 2u);
  EXPECT_THAT(report.notes,
              ElementsAre(HasSubstr("before-upgrade: no longer needed, but not created by pgweir "
                                    "backup, and so not removed")));
}

TEST(Keep, LeavesWhatABackupThatStaysBuildsUpon) {
  World world;
  world.put("20261120T010203Z", 2);
  world.put("20261121T010203Z", 3);
  world.put("copy-of-monday", 5, 3);
  world.put("20261122T010203Z", 7);
  const auto report = world.apply(1);
  EXPECT_THAT(report.removed, ElementsAre("20261120T010203Z"));
  EXPECT_EQ(report.wal_files, 2u);
  EXPECT_THAT(report.notes, Contains(HasSubstr("20261121T010203Z: no longer needed, but not "
                                               "removed, because a backup that is not removed "
                                               "builds upon it")));
}

}  // namespace
}  // namespace weir::backup::keep_test
