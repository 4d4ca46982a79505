#include "drill/sandbox.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/error.h"
#include "support/backup_builder.h"

namespace weir::drill::sandbox_test {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;

TEST(Sandbox, IsGoneWithAllThatIsInItAndNothingThatLinksLeadTo) {
  const TemporaryDirectory place;
  place.write("elsewhere/file", "kept");
  std::string path;
  {
    const Sandbox sandbox(place.path());
    path = sandbox.path();
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700U);
    fs::create_directories(sandbox.data());
    fs::create_directory_symlink(place.path("elsewhere"), sandbox.data() + "/link");
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::exists(place.path("elsewhere/file")));
}

TEST(Sandbox, LeftoversAreRemovedOnlyIfTheyAreCertainlyOurs) {
  const TemporaryDirectory place;
  // What a killed drill leaves: a copy of a sandbox that nobody holds.
  std::string killed;
  {
    const Sandbox sandbox(place.path());
    killed = place.path("pgweir-drill-killed");
    fs::copy(sandbox.path(), killed);
    fs::permissions(killed, fs::perms::owner_all);
  }
  const Sandbox at_work(place.path());
  place.write("pgweir-drill-nomark/file", "somebody's");
  fs::permissions(place.path("pgweir-drill-nomark"), fs::perms::owner_all);
  place.write("pgweir-drill-other/.pgweir-drill", "another text\n");
  fs::permissions(place.path("pgweir-drill-other"), fs::perms::owner_all);
  fs::copy(killed, place.path("pgweir-drill-public"));
  fs::permissions(place.path("pgweir-drill-public"), fs::perms::owner_all | fs::perms::others_read);
  fs::copy(killed, place.path("another-name"));
  fs::permissions(place.path("another-name"), fs::perms::owner_all);
  fs::create_directory_symlink(place.path("another-name"), place.path("pgweir-drill-link"));

  EXPECT_EQ(Sandbox::remove_leftovers(place.path()),
            std::vector<std::string>{"pgweir-drill-killed"});
  EXPECT_FALSE(fs::exists(killed));
  for (const auto* name : {"pgweir-drill-nomark/file", "pgweir-drill-other", "pgweir-drill-public",
                           "another-name/.pgweir-drill", "pgweir-drill-link"})
    EXPECT_TRUE(fs::exists(place.path(name))) << name;
  EXPECT_TRUE(fs::exists(at_work.path()));
}

TEST(Sandbox, HasASocketDirectoryThatFitsIntoAnAddress) {
  const TemporaryDirectory place;
  const auto deep = place.path(std::string(120, 'd'));
  fs::create_directory(deep);
  const Sandbox near(place.path());
  EXPECT_EQ(near.socket_directory(), near.path());
  const Sandbox far(deep);
  EXPECT_LT(far.socket_directory().size(), 90U);
  place.write(std::string(120, 'd') + "/" + fs::path(far.path()).filename().string() + "/mark",
              "x");
  EXPECT_TRUE(fs::exists(far.socket_directory() + "/mark"));
}

TEST(Sandbox, NeedsAPlace) {
  const TemporaryDirectory place;
  EXPECT_THROW(Sandbox(place.path("nowhere")), Error);
  EXPECT_THROW(Sandbox(place.write("file", "")), Error);
}

}  // namespace
}  // namespace weir::drill::sandbox_test
