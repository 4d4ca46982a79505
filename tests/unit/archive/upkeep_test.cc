#include "archive/upkeep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "base/error.h"
#include "support/error_of.h"
#include "support/sim_disk.h"

namespace weir::archive::upkeep_test {
namespace {

using sim::SimDisk;
using test::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = Upkeep::Kind;

std::vector<io::DirectoryEntry> names(SimDisk& disk) { return disk.open()->list(); }

TEST(Upkeep, LetsAnImportAndAPruneNotBeAtWorkTogether) {
  for (const auto kind : {Kind::prune, Kind::import}) {
    SimDisk disk;
    const auto one = disk.open(), other = disk.open();
    const auto opposite = kind == Kind::prune ? Kind::import : Kind::prune;
    {
      const Upkeep first(*one, kind);
      const auto error = error_of([&] { const Upkeep refused(*other, opposite); });
      EXPECT_EQ(error.kind(), ErrorKind::retry);
      EXPECT_THAT(error.what(), HasSubstr(kind == Kind::prune ? "prune" : "import"));
      const Upkeep alike(*other, kind);  // two of one kind do no harm
    }
    EXPECT_THAT(names(disk), IsEmpty());
    const Upkeep later(*other, opposite);
  }
}

TEST(Upkeep, OfTwoThatBeginTogetherAtMostOneGoesOn) {
  // The other one begins between any two calls of the first.
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    SimDisk disk;
    const auto one = disk.open(), other = disk.open();
    std::optional<Upkeep> prune, import;
    bool begun = false;
    disk.set_hook([&](const SimDisk::Call& now) {
      if (!begun && now.number >= call) {
        begun = true;
        try {
          import.emplace(*other, Kind::import);
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::retry);
        }
      }
      return SimDisk::Effect::proceed();
    });
    try {
      prune.emplace(*one, Kind::prune);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::retry);
    }
    disk.set_hook({});
    EXPECT_FALSE(prune && import);
    if (!begun) break;
  }
}

TEST(Upkeep, IsNotHeldByWhoIsGone) {
  SimDisk disk;
  const auto directory = disk.open();
  disk.put(create_locked(*disk.open(), "import").name, {});  // (its lock is gone at once)
  const Upkeep prune(*directory, Kind::prune);
}

TEST(Upkeep, LetsAPruneBeginOnAFullDiskAndNoImport) {
  SimDisk disk;
  const auto directory = disk.open();
  disk.fail_every(SimDisk::Operation::create, ENOSPC);
  { const Upkeep prune(*directory, Kind::prune); }
  EXPECT_EQ(error_of([&] { const Upkeep import(*directory, Kind::import); }).kind(),
            ErrorKind::disk_full);
  disk.set_hook({});
  const auto other = disk.open();
  const Upkeep import(*other, Kind::import);
  disk.fail_every(SimDisk::Operation::create, ENOSPC);
  EXPECT_EQ(error_of([&] { const Upkeep prune(*directory, Kind::prune); }).kind(),
            ErrorKind::retry);
}

}  // namespace
}  // namespace weir::archive::upkeep_test
