#include "archive/kept_slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "io/posix_directory.h"
#include "support/backup_builder.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"

namespace weir::archive::kept_slots_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;
using test::error_of;
using wal::Lsn;

const KeptSlots kBefore{7'000'000'000'000'000'001,
                        {{"a", Lsn(0x1000000), 0x100000000 + 7, 0, false, "then", "later"}}};
const KeptSlots kAfter{7'000'000'000'000'000'001,
                       {{"a", Lsn(0x2000000), 0, 3, true, "then", ""}, {"b", Lsn(), 0, 0}}};

void keep(SimDisk& disk, const KeptSlots& slots) {
  const auto directory = disk.open();
  DirectoryHome home(*directory);
  keep_slots(home, slots);
}
std::optional<KeptSlots> read(SimDisk& disk) { return read_slots(*disk.open()); }

TEST(KeptSlots, AreReadAsTheyWereWritten) {
  SimDisk disk;
  EXPECT_EQ(read(disk), std::nullopt);
  keep(disk, kBefore);
  EXPECT_EQ(read(disk), kBefore);
  keep(disk, kAfter);
  EXPECT_EQ(read(disk), kAfter);
}

TEST(KeptSlots, AreTheOldOrTheNewOnesWheneverThePowerFails) {
  std::mt19937_64 random(test::seed_or(31));
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    SimDisk disk;
    keep(disk, kBefore);
    const auto begun = disk.calls();
    disk.lose_power_at(begun + call);
    bool kept = false;
    try {
      keep(disk, kAfter);
      kept = true;
    } catch (const MachineDown&) {
    }
    disk.set_hook({});
    if (call % 2 == 0)
      disk.crash_losing_everything();
    else
      disk.crash(random);
    const auto found = read(disk);
    EXPECT_TRUE(found == kAfter || (!kept && found == kBefore));
    // What was left behind is in nobody's way.
    keep(disk, kBefore);
    EXPECT_EQ(read(disk), kBefore);
    if (kept || HasFailure()) break;
  }
}

TEST(KeptSlots, ThatCannotBeReadAreNoEmptyOnes) {
  for (const std::string content :
       {"", "{}", "[]", "{\"version\": 2, \"system_identifier\": 1, \"slots\": []}",
        "{\"version\": 1, \"system_identifier\": 1, \"slots\": [{\"name\": \"a\"}]}",
        "{\"version\": 1, \"system_identifier\": 1, \"slots\": [7]}",
        "{\"version\": 1, \"system_identifier\": -1, \"slots\": []}"}) {
    SCOPED_TRACE(content);
    SimDisk disk;
    disk.put(std::string(kSlotsName), test::as_bytes(content));
    const auto error = error_of([&] { static_cast<void>(read(disk)); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr(std::string(kSlotsName)));
  }
}

/// Such as one into a file system that is not mounted.
TEST(KeptSlots, OfALinkWithoutATargetAreNoEmptyOnes) {
  const test::TemporaryDirectory archive;
  const auto directory = io::open_directory(archive.path());
  EXPECT_EQ(read_slots(*directory), std::nullopt);
  std::filesystem::create_symlink("/nowhere/slots", archive.path(std::string(kSlotsName)));
  EXPECT_EQ(error_of([&] { static_cast<void>(read_slots(*directory)); }).kind(), ErrorKind::damage);
}

TEST(SlotsLock, IsHadByOneAtATime) {
  SimDisk disk;
  const auto one = disk.open();
  const auto two = disk.open();
  auto held = SlotsLock::take(*one);
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(SlotsLock::take(*two), nullptr);
  held.reset();
  EXPECT_NE(SlotsLock::take(*two), nullptr);
}

TEST(SlotsLock, IsNotHadWhereNothingCanBeWritten) {
  SimDisk disk;
  disk.set_hook([](const SimDisk::Call& call) {
    return call.operation == SimDisk::Operation::create ? SimDisk::Effect::fail(EROFS)
                                                        : SimDisk::Effect::proceed();
  });
  const auto directory = disk.open();
  EXPECT_EQ(error_of([&] { static_cast<void>(SlotsLock::take(*directory)); }).kind(),
            ErrorKind::io);
}

}  // namespace
}  // namespace weir::archive::kept_slots_test
