#include "io/unsynced_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::io::unsynced_directory_test {
namespace {

using sim::SimDisk;
using ::testing::ElementsAre;

TEST(UnsyncedDirectory, WritesEverythingAndSyncsNothing) {
  SimDisk disk;
  disk.set_hook([](const SimDisk::Call& call) {
    EXPECT_NE(call.operation, SimDisk::Operation::sync);
    EXPECT_NE(call.operation, SimDisk::Operation::sync_directory);
    return SimDisk::Effect::proceed();
  });
  const auto under = disk.open();
  const auto directory = without_syncs(*under);
  const auto content = test::pattern(5000, 1);
  {
    const auto file = directory->create("one");
    file->write_at(0, content);
    file->sync();
    file->close();
  }
  directory->rename_no_replace("one", "two");
  directory->sync();
  EXPECT_THAT(disk.names(), ElementsAre("two"));
  EXPECT_TRUE(disk.content("two") == content);
  EXPECT_EQ(directory->open("one"), nullptr);
  EXPECT_EQ(directory->find("two")->size, content.size());
  disk.crash_losing_everything();
  EXPECT_FALSE(disk.exists("two"));
}

}  // namespace
}  // namespace weir::io::unsynced_directory_test
