#include "io/owner.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "io/posix_directory.h"

namespace weir::io::owner_test {
namespace {

TEST(Owner, RootGivesItsFilesToTheOwnerOfTheDirectory) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  std::string path = "/tmp/pgweir-owner-XXXXXX";
  ASSERT_NE(::mkdtemp(path.data()), nullptr);
  ASSERT_EQ(::chown(path.c_str(), 12345, 23456), 0);
  const auto directory = open_directory(path);
  const auto owner_of = [&](const std::string& name) {
    struct stat status {};
    EXPECT_EQ(::stat((path + "/" + name).c_str(), &status), 0);
    return std::pair(status.st_uid, status.st_gid);
  };
  static_cast<void>(directory->create("before"));
  EXPECT_EQ(owner_of("before"), std::pair(uid_t{0}, ::getegid()));
  keep_owner(*directory);
  static_cast<void>(directory->create("named"));
  EXPECT_EQ(owner_of("named"), std::pair(uid_t{12345}, gid_t{23456}));
  if (const auto file = directory->unnamed_files()->create_unnamed();
      file && directory->unnamed_files()->give_name(*file, "unnamed")) {
    EXPECT_EQ(owner_of("unnamed"), std::pair(uid_t{12345}, gid_t{23456}));
  }
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace weir::io::owner_test
