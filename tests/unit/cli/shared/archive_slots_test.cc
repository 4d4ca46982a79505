#include "cli/shared/archive_slots.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "archive/home.h"
#include "archive/kept_slots.h"
#include "io/posix_directory.h"

namespace weir::cli::archive_slots_test {
namespace {

/// No process has the slots. The next relay, and a prune, run as the owner and have to read them.
TEST(DropArchiveSlot, LeavesTheFileToTheOwnerOfTheDirectory) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  std::string path = std::filesystem::temp_directory_path() / "pgweir-slots-XXXXXX";
  ASSERT_NE(::mkdtemp(path.data()), nullptr);
  ASSERT_EQ(::chown(path.c_str(), 12345, 23456), 0);
  const auto directory = io::open_directory(path);
  const archive::KeptSlot one{.name = "one"};
  const archive::KeptSlot two{.name = "two"};
  archive::DirectoryHome home(*directory);
  archive::keep_slots(home, {.system_identifier = 7, .slots = {one, two}});
  EXPECT_TRUE(drop_archive_slot(path, "one"));
  const auto left = archive::read_slots(*directory);
  ASSERT_TRUE(left);
  EXPECT_EQ(left->slots, std::vector{two});
  for (const auto name : {archive::kSlotsName, archive::kSlotsLockName}) {
    struct stat status {};
    ASSERT_EQ(::stat((path + "/" + std::string(name)).c_str(), &status), 0) << name;
    EXPECT_EQ(std::pair(status.st_uid, status.st_gid), std::pair(uid_t{12345}, gid_t{23456}))
        << name;
  }
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace weir::cli::archive_slots_test
