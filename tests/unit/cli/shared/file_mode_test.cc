#include "cli/shared/file_mode.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "io/posix_directory.h"

namespace weir::cli::file_mode_test {
namespace {

/// A server whose restore_command reads the archive as another user has access through the group.
TEST(TakeFileMode, IsThatOfTheNewestSegmentThatStillExists) {
  struct Case {
    mode_t newest;
    mode_t expected;
  };
  for (const auto& [newest, expected] : {Case{0600, 0600}, Case{0640, 0640}, Case{0644, 0640}}) {
    SCOPED_TRACE(newest);
    std::string path = std::filesystem::temp_directory_path() / "pgweir-mode-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    const auto directory = io::open_directory(path);
    static_cast<void>(directory->create("000000010000000000000001"));
    static_cast<void>(directory->create("000000010000000000000002"));
    static_cast<void>(directory->create("000000010000000000000003.partial"));
    ASSERT_EQ(::chmod((path + "/000000010000000000000002").c_str(), newest), 0);
    const auto listing = archive::list_archive_names(*directory);
    directory->remove("000000010000000000000003.partial");  // a receiver has completed it since
    take_file_mode(*directory, listing);
    static_cast<void>(directory->create("made"));
    struct stat status {};
    ASSERT_EQ(::stat((path + "/made").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, expected);
    std::filesystem::remove_all(path);
  }
}

TEST(TakeFileMode, IsTheUsualOneInAnEmptyArchive) {
  std::string path = std::filesystem::temp_directory_path() / "pgweir-mode-XXXXXX";
  ASSERT_NE(::mkdtemp(path.data()), nullptr);
  const auto directory = io::open_directory(path);
  take_file_mode(*directory, archive::list_archive_names(*directory));
  static_cast<void>(directory->create("made"));
  struct stat status {};
  ASSERT_EQ(::stat((path + "/made").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, mode_t{0600});
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace weir::cli::file_mode_test
