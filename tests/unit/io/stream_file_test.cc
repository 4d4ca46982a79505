#include "io/stream_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "support/backup_builder.h"
#include "support/error_of.h"

namespace weir::io::stream_file_test {
namespace {

using ::testing::HasSubstr;

TEST(StreamFile, GoesOnBehindWhatIsThere) {
  const test::TemporaryDirectory place;
  const auto path = place.write("out", "one ");
  {
    StreamFile file(path);
    EXPECT_TRUE(file.is_file());
    file.write("two");
    file.sync();
  }
  std::ifstream in(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "one two");
}

TEST(StreamFile, TellsOfEachPartOfALargeWrite) {
  const test::TemporaryDirectory place;
  const std::string large(1'000'000, 'x');
  int parts = 0;
  StreamFile file(place.path("out"));
  file.write(large, [&] { ++parts; });
  EXPECT_EQ(parts, 16) << "of 64 KiB at most";
  EXPECT_EQ(std::filesystem::file_size(place.path("out")), large.size());
}

TEST(StreamFile, GivesItsModeToAFileThatItMakesAlone) {
  const test::TemporaryDirectory place;
  const auto mode_of = [](const std::string& path) {
    return static_cast<unsigned>(std::filesystem::status(path).permissions());
  };
  const auto mask = ::umask(0077);
  { const StreamFile file(place.path("out"), 0640); }
  ::umask(mask);
  EXPECT_EQ(mode_of(place.path("out")), 0640u);
  { const StreamFile file(place.path("out"), 0600); }
  EXPECT_EQ(mode_of(place.path("out")), 0640u);
}

TEST(StreamFile, SaysThatItCannotBeOpened) {
  const test::TemporaryDirectory place;
  const auto error = test::error_of([&] { const StreamFile file(place.path("none/out")); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_THAT(error.what(), HasSubstr("could not open the output file"));
  EXPECT_THAT(error.hint(), HasSubstr("its directory exists"));
}

TEST(StreamFile, SaysThatTheDiskIsFull) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this machine has no /dev/full";
  StreamFile full("/dev/full");
  EXPECT_FALSE(full.is_file());
  const auto error = test::error_of([&] { full.write("x"); });
  EXPECT_EQ(error.kind(), ErrorKind::disk_full);
  EXPECT_THAT(error.what(), HasSubstr("/dev/full"));
  full.sync();  // of what is no file nothing is asked
}

}  // namespace
}  // namespace weir::io::stream_file_test
