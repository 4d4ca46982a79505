#include "io/names_watch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace weir::io::names_watch_test {
namespace {

namespace fs = std::filesystem;

class NamesWatchTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    std::ofstream(directory() / name) << content;
  }
  [[nodiscard]] fs::path directory() const { return place_ / "archive"; }
  void SetUp() override {
    char pattern[] = "/tmp/pgweir-names-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    place_ = pattern;
    fs::create_directory(directory());
    watch_ = NamesWatch::begin(directory());
    ASSERT_TRUE(watch_);
  }
  void TearDown() override { fs::remove_all(place_); }

  fs::path place_;
  std::unique_ptr<NamesWatch> watch_;
};

TEST_F(NamesWatchTest, TellsOfEachChangeOnce) {
  EXPECT_FALSE(watch_->changed());
  write("a", "");
  EXPECT_TRUE(watch_->changed());
  EXPECT_FALSE(watch_->changed());
  fs::rename(directory() / "a", directory() / "b");
  EXPECT_TRUE(watch_->changed());
  fs::rename(directory() / "b", directory().parent_path() / "b");
  EXPECT_TRUE(watch_->changed());
  fs::rename(directory().parent_path() / "b", directory() / "c");
  EXPECT_TRUE(watch_->changed());
  fs::remove(directory() / "c");
  EXPECT_TRUE(watch_->changed());
  EXPECT_FALSE(watch_->changed());
}

TEST_F(NamesWatchTest, SaysNothingOfWhatIsWrittenIntoFiles) {
  write("a", "");
  EXPECT_TRUE(watch_->changed());
  write("a", "more");
  EXPECT_FALSE(watch_->changed());
}

TEST_F(NamesWatchTest, ManyAtOnceAreOneChange) {
  for (int i = 0; i < 500; ++i) write("file" + std::to_string(i), "");
  EXPECT_TRUE(watch_->changed());
  EXPECT_FALSE(watch_->changed());
}

TEST_F(NamesWatchTest, IsBlindWhereTheDirectoryIsAnotherOne) {
  fs::rename(directory(), directory().parent_path() / "old");
  EXPECT_TRUE(watch_->changed());
  EXPECT_TRUE(watch_->changed()) << "whoever asks has to look for himself from now on";
  EXPECT_FALSE(NamesWatch::begin(directory()));
}

TEST_F(NamesWatchTest, IsBlindOnceTheDirectoryHasGone) {
  fs::remove(directory());
  EXPECT_TRUE(watch_->changed());
  EXPECT_TRUE(watch_->changed());
}

}  // namespace
}  // namespace weir::io::names_watch_test
