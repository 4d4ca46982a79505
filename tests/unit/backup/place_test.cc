#include "backup/place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <set>

#include "base/error.h"
#include "io/posix_directory.h"
#include "prune/backup_name.h"
#include "support/backup_builder.h"
#include "support/error_of.h"
#include "support/sim_disk.h"

namespace weir::backup::place_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;
using test::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BackupPlace, NamesAreTimesInUtc) {
  using std::chrono::sys_days;
  using std::chrono::year_month_day;
  const auto time = sys_days(year_month_day(std::chrono::year(2026), std::chrono::month(11),
                                            std::chrono::day(20))) +
                    std::chrono::hours(3) + std::chrono::minutes(14) + std::chrono::seconds(15);
  EXPECT_EQ(prune::backup_name(time), "20261120T031415Z");
  EXPECT_EQ(prune::time_of_backup_name("20261120T031415Z"), time);
  for (const auto* other :
       {"20261120T031415", "20261320T031415Z", "20261120T251415Z", "2026112T0031415Z",
        "20261120T031415Z/", "x0261120T031415Z", "", "00001120T031415Z", "99991120T031415Z"})
    EXPECT_FALSE(prune::time_of_backup_name(other)) << other;
}

TEST(BackupPlace, NoNameIsTakenTwice) {
  const TemporaryDirectory place;
  const auto directory = io::open_directory(place.path());
  const auto now = prune::time_of_backup_name("20261120T031459Z").value();
  EXPECT_EQ(free_name(*directory, now), "20261120T031459Z");
  std::filesystem::create_directory(place.path("20261120T031459Z"));
  EXPECT_EQ(free_name(*directory, now), "20261120T031500Z");
}

TEST(BackupPlace, ATakenNameIsNotReplaced) {
  const TemporaryDirectory place;
  const auto directory = io::open_directory(place.path());
  place.write(".pgweir-backup-20261120T031459Z/new", "");
  place.write("20261120T031459Z/old", "");
  EXPECT_THROW(publish(*directory, ".pgweir-backup-20261120T031459Z", "20261120T031459Z"), Error);
  EXPECT_TRUE(std::filesystem::exists(place.path("20261120T031459Z/old")));
  EXPECT_TRUE(std::filesystem::exists(place.path(".pgweir-backup-20261120T031459Z/new")));
}

/// pg_basebackup writes a tablespace that is not mapped to the location that it has on the server.
TEST(BackupPlace, ATablespaceThatWasCreatedMeanwhileIsReported) {
  const TemporaryDirectory data;
  require_no_other_tablespace(data.path(), {});  // of tar files
  data.write("pg_tblspc/16400/PG_15/1", "");     // in place
  std::filesystem::create_directory_symlink("/to/16385", data.path("pg_tblspc/16385"));
  require_no_other_tablespace(data.path(), {"16385"});
  std::filesystem::create_directory_symlink("/srv/late", data.path("pg_tblspc/16386"));
  const auto error = test::error_of([&] { require_no_other_tablespace(data.path(), {"16385"}); });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
  EXPECT_THAT(error.what(), HasSubstr("16386"));
  EXPECT_THAT(error.what(), HasSubstr("/srv/late"));
}

TEST(BackupPlace, OnlyOurHiddenDirectoriesAreLeftovers) {
  const TemporaryDirectory place;
  place.write(".pgweir-backup-20261120T031459Z/data/PG_VERSION", "15\n");
  place.write(".pgweir-removed-20261119T031459Z/data/PG_VERSION", "15\n");
  place.write(".pgweir-backup-mine/file", "");
  place.write(".pgweir-removed-20261119T031458Z", "a file");
  place.write(".snapshot/file", "");
  place.write("20261119T031458Z/PG_VERSION", "");
  place.write("elsewhere/file", "");
  std::filesystem::create_directory_symlink(place.path("elsewhere"),
                                            place.path(".pgweir-backup-20261119T031458Z"));
  const auto directory = io::open_directory(place.path());
  EXPECT_THAT(leftovers(*directory),
              ElementsAre(".pgweir-backup-20261120T031459Z", ".pgweir-removed-20261119T031459Z"));
}

TEST(BackupPlace, TheLockKeepsOthersOffAndKnowsItsCluster) {
  const TemporaryDirectory place;
  const auto directory = io::open_directory(place.path());
  {
    PlaceLock lock(*directory);
    EXPECT_GE(lock.descriptor(), 0);
    const auto other = io::open_directory(place.path());
    EXPECT_EQ(test::error_of([&] { const PlaceLock second(*other); }).kind(), ErrorKind::retry);
    lock.require_cluster(7'000'000'000'000'000'001U);
    lock.require_cluster(7'000'000'000'000'000'001U);
  }
  PlaceLock lock(*directory);
  const auto error = test::error_of([&] { lock.require_cluster(7'000'000'000'000'000'002U); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_THAT(error.what(), HasSubstr("7000000000000000001"));
}

// The power fails at each call in turn, and each name that was not synced is lost or kept on its
// own. (A directory is a name to the simulated disk, as a file is.)

void put(SimDisk& disk, const std::string& name) {
  const auto text = std::as_bytes(std::span("x"));
  disk.put(name, text);
}

template <typename Work, typename Check>
void at_each_power_loss(const SimDisk& before, Work work, Check check) {
  std::uint64_t calls = 0;
  {
    const auto disk = before.copy();
    disk->reset_calls();
    work(*disk);
    calls = disk->calls();
  }
  ASSERT_GT(calls, 1U);
  std::mt19937_64 random(7);
  for (std::uint64_t call = 1; call <= calls + 1; ++call)
    for (int variant = 0; variant < 20; ++variant) {
      const auto disk = before.copy();
      disk->reset_calls();
      disk->lose_power_at(call);
      bool returned = false;
      try {
        work(*disk);
        returned = true;
      } catch (const MachineDown&) {
      }
      if (variant == 0)
        disk->crash_losing_everything();
      else
        disk->crash(random);
      check(*disk, returned);
    }
}

TEST(BackupPlace, WhatWasPublishedSurvivesEachPowerLoss) {
  SimDisk disk;
  put(disk, ".pgweir-backup-20261120T031459Z");
  at_each_power_loss(
      disk,
      [](SimDisk& each) {
        publish(*each.open(), ".pgweir-backup-20261120T031459Z", "20261120T031459Z");
      },
      [](SimDisk& each, bool returned) {
        const bool named = each.exists("20261120T031459Z");
        EXPECT_NE(named, each.exists(".pgweir-backup-20261120T031459Z"));
        if (returned) {
          EXPECT_TRUE(named);
        }
      });
}

TEST(BackupPlace, HasItsNameIfThatCannotBeMadeDurable) {
  SimDisk disk;
  put(disk, ".pgweir-backup-20261120T031459Z");
  disk.fail_every(SimDisk::Operation::sync_directory, EIO);
  const auto error = test::error_of(
      [&] { publish(*disk.open(), ".pgweir-backup-20261120T031459Z", "20261120T031459Z"); });
  EXPECT_EQ(error.kind(), ErrorKind::durability);
  EXPECT_TRUE(disk.exists("20261120T031459Z"));
}

TEST(BackupPlace, NoPowerLossLeavesAnIncrementalBackupWithoutItsBase) {
  SimDisk disk;
  // Each builds upon the one before it.
  const std::vector<std::string> newest_first = {"20261123T031459Z", "20261122T031459Z",
                                                 "20261121T031459Z"};
  for (const auto& name : newest_first) put(disk, name);
  at_each_power_loss(
      disk,
      [&](SimDisk& each) {
        const auto directory = each.open();
        remove(*directory, newest_first,
               [&](const std::string& hidden) { directory->remove(hidden); });
        directory->sync();
      },
      [&](SimDisk& each, bool returned) {
        bool later = false;
        for (const auto& name : newest_first) {
          if (later) {
            EXPECT_TRUE(each.exists(name)) << name;
          }
          later = later || each.exists(name);
        }
        if (returned) {
          EXPECT_TRUE(each.names().empty());
        }
      });
}

}  // namespace
}  // namespace weir::backup::place_test
