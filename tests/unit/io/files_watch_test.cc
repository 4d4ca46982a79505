#include "io/files_watch.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

namespace weir::io::files_watch_test {
namespace {

namespace fs = std::filesystem;

class FilesWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/pgweir-files-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    place_ = pattern;
  }
  void TearDown() override { fs::remove_all(place_); }

  [[nodiscard]] fs::path path(const std::string& name) const { return place_ / name; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name)) << content;
  }
  void make(const std::string& directory) const { fs::create_directory(path(directory)); }
  void link(const std::string& name, const std::string& target) const {
    fs::create_symlink(target, path(name));
  }
  /// As a kubelet does it: a new link in the place of the old one.
  void exchange_link(const std::string& name, const std::string& target) const {
    link("fresh", target);
    fs::rename(path("fresh"), path(name));
  }

  static bool has_news(const FilesWatch& watch) {
    pollfd fd{watch.fd(), POLLIN, 0};
    return ::poll(&fd, 1, 0) == 1;
  }
  /// Nothing before, something behind it.
  void expect_news(const std::string& name, const std::function<void()>& change) const {
    const auto watch = FilesWatch::begin({path(name)});
    ASSERT_TRUE(watch);
    EXPECT_FALSE(has_news(*watch));
    change();
    EXPECT_TRUE(has_news(*watch));
  }

  fs::path place_;
};

TEST_F(FilesWatchTest, TellsOfAFileThatIsWrittenReplacedRemovedOrMade) {
  write("key", "one");
  expect_news("key", [&] { write("key", "two"); });
  write("new", "three");
  expect_news("key", [&] { fs::rename(path("new"), path("key")); });
  expect_news("key", [&] { fs::remove(path("key")); });
  expect_news("key", [&] { write("key", "four"); });
  expect_news("key", [&] { fs::rename(path("key"), path("away")); });
}

TEST_F(FilesWatchTest, TellsOfAMode) {
  write("key", "one");
  expect_news("key", [&] { ::chmod(path("key").c_str(), 0644); });
}

TEST_F(FilesWatchTest, SaysNothingOfWhatOnlyReadsIt) {
  write("key", "one");
  const auto watch = FilesWatch::begin({path("key")});
  ASSERT_TRUE(watch);
  std::string content;
  std::ifstream(path("key")) >> content;
  EXPECT_FALSE(has_news(*watch));
}

TEST_F(FilesWatchTest, SaysNothingOfWhatIsWrittenIntoAnotherFile) {
  write("key", "one");
  write("log", "");
  const auto watch = FilesWatch::begin({path("key")});
  ASSERT_TRUE(watch);
  write("log", "a line");
  EXPECT_FALSE(has_news(*watch));
}

TEST_F(FilesWatchTest, TellsOfEachOfSeveral) {
  make("a");
  make("b");
  write("a/key", "one");
  write("b/crt", "one");
  for (const auto* name : {"a/key", "b/crt"}) {
    const auto watch = FilesWatch::begin({path("a/key"), path("b/crt")});
    ASSERT_TRUE(watch);
    write(name, "two");
    EXPECT_TRUE(has_news(*watch)) << name;
  }
}

TEST_F(FilesWatchTest, FollowsLinksAsAVolumeOfSecretsHasThem) {
  make("one");
  make("two");
  write("one/key", "1");
  write("two/key", "2");
  link("..data", "one");
  link("key", "..data/key");
  expect_news("key", [&] { exchange_link("..data", "two"); });
  expect_news("key", [&] { write("two/key", "3"); });
  expect_news("key", [&] { exchange_link("key", "one/key"); });
}

TEST_F(FilesWatchTest, FollowsALinkAboveTheFile) {
  make("volumes");
  make("volumes/one");
  make("volumes/two");
  write("volumes/one/key", "1");
  write("volumes/two/key", "2");
  link("current", path("volumes/one"));
  expect_news("current/key", [&] { exchange_link("current", path("volumes/two")); });
  link("roundabout", "volumes/../current");
  expect_news("roundabout/key", [&] { exchange_link("current", path("volumes/one")); });
}

TEST_F(FilesWatchTest, WaitsForADirectoryThatIsNotThere) {
  expect_news("secrets/key", [&] { make("secrets"); });
  link("gone", "nowhere/else");
  expect_news("gone/key", [&] { make("nowhere"); });
}

TEST_F(FilesWatchTest, TellsThatTheDirectoryWasRenamed) {
  make("secrets");
  write("secrets/key", "one");
  expect_news("secrets/key", [&] { fs::rename(path("secrets"), path("old")); });
}

TEST_F(FilesWatchTest, IsNoneWhereTheWayCannotBeFollowed) {
  write("file", "");
  EXPECT_FALSE(FilesWatch::begin({path("file/key")}));
  make("directory");
  EXPECT_FALSE(FilesWatch::begin({path("directory")}));
  link("loop", "loop");
  EXPECT_FALSE(FilesWatch::begin({path("loop")}));
  EXPECT_FALSE(FilesWatch::begin({""}));
}

}  // namespace
}  // namespace weir::io::files_watch_test
