#include "io/small_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace weir::io::small_file_test {
namespace {

class SmallFile : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/pgweir-small-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    place_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(place_); }
  std::string put(const std::string& name, const std::string& content) {
    std::ofstream(place_ + "/" + name, std::ios::binary) << content;
    return place_ + "/" + name;
  }
  std::string place_;
};

TEST_F(SmallFile, IsReadWholeUpToItsLimit) {
  const std::string text = std::string(200'000, 'x') + '\0' + "end";
  const auto path = put("a", text);
  EXPECT_EQ(read_small_file(path, text.size()), text);
  EXPECT_THROW(static_cast<void>(read_small_file(path, text.size() - 1)), Error);
  EXPECT_EQ(read_front(path, 3), "xxx");
  EXPECT_EQ(read_front(path, text.size() + 5), text);
  EXPECT_EQ(read_small_file(put("empty", ""), 10), "");
}

TEST_F(SmallFile, TellsWhatCannotBeRead) {
  for (const auto& path : {place_ + "/missing", place_}) {
    try {
      static_cast<void>(read_small_file(path, 10));
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io);
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
  }
}

TEST_F(SmallFile, KnowsWhatIsUnderAPath) {
  const auto file = put("a", "x");
  ASSERT_EQ(::symlink("a", (place_ + "/link").c_str()), 0);
  ASSERT_EQ(::symlink("loop", (place_ + "/loop").c_str()), 0);
  ASSERT_EQ(::mkfifo((place_ + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(type_of(file), PathType::file);
  EXPECT_EQ(type_of(place_ + "/link"), PathType::file);
  EXPECT_EQ(type_of(place_), PathType::directory);
  EXPECT_EQ(type_of(place_ + "/pipe"), PathType::other);
  EXPECT_EQ(type_of(place_ + "/missing"), PathType::nothing);
  EXPECT_EQ(type_of(file + "/below"), PathType::nothing);
  EXPECT_THROW(static_cast<void>(type_of(place_ + "/loop")), Error);
}

TEST_F(SmallFile, IsReplacedAsAWholeAndLeavesNothingElse) {
  const auto path = put("a", "old");
  replace_small_file(path, "new", 0644);
  EXPECT_EQ(read_small_file(path, 10), "new");
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777u, 0644u);
  const auto files = std::distance(std::filesystem::directory_iterator(place_),
                                   std::filesystem::directory_iterator());
  EXPECT_EQ(files, 1);
  ASSERT_EQ(::mkdir((place_ + "/d").c_str(), 0700), 0);
  EXPECT_THROW(replace_small_file(place_ + "/d", "x", 0644), Error);
  EXPECT_THROW(replace_small_file(place_ + "/missing/x", "x", 0644), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(place_),
                          std::filesystem::directory_iterator()),
            2);
}

/// Root writes a metrics file into a directory that another user can write to, as well.
TEST_F(SmallFile, IsNotWrittenThroughALinkUnderItsHiddenName) {
  const auto victim = put("victim", "secret");
  ASSERT_EQ(::chmod(victim.c_str(), 0600), 0);
  const auto hidden = place_ + "/.a." + std::to_string(::getpid()) + ".tmp";
  ASSERT_EQ(::symlink("victim", hidden.c_str()), 0);
  replace_small_file(place_ + "/a", "new", 0644);
  EXPECT_EQ(read_small_file(place_ + "/a", 10), "new");
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(place_ + "/a")));
  EXPECT_EQ(read_small_file(victim, 10), "secret");
  EXPECT_EQ(look_at_access(victim)->mode, 0600u);
  put(".a." + std::to_string(::getpid()) + ".tmp", "left behind by a process of this number");
  replace_small_file(place_ + "/a", "newer", 0644);
  EXPECT_EQ(read_small_file(place_ + "/a", 10), "newer");
}

TEST_F(SmallFile, ReplacedDurablyLeavesNothingElse) {
  const auto path = place_ + "/state.json";
  replace_small_file(path, "old", 0600, Replace::durably);
  replace_small_file(path, "new", 0640, Replace::durably);
  EXPECT_EQ(read_small_file(path, 10), "new");
  EXPECT_EQ(look_at_access(path)->mode, 0640u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(place_),
                          std::filesystem::directory_iterator()),
            1);
  EXPECT_TRUE(is_leftover_of(".state.json.4711.tmp", "state.json"));
  for (const auto* other : {"state.json", ".state.json", ".state.jsonx.1.tmp", "state.json.1.tmp"})
    EXPECT_FALSE(is_leftover_of(other, "state.json")) << other;
}

}  // namespace
}  // namespace weir::io::small_file_test
