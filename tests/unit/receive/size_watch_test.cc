#include "receive/size_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>

#include "io/posix_directory.h"

namespace weir::receive::size_watch_test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

class SharedLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    text_ += std::string(message) + "\n";
  }
  bool enabled(LogLevel) const override { return true; }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

/// Segments 1 to 9 in a directory of the machine, sparse and an hour old.
class SizeWatchTest : public ::testing::Test {
 protected:
  SizeWatchTest() {
    std::string pattern = "/tmp/pgweir-sizes-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path = pattern;
    for (std::uint64_t segno = 1; segno < 10; ++segno) put(segno, kSize.bytes());
  }
  ~SizeWatchTest() override { std::filesystem::remove_all(path); }

  std::string name(std::uint64_t segno) const {
    return wal::SegmentName(1, segno, kSize).to_string();
  }
  void put(std::uint64_t segno, std::uint64_t bytes) {
    const auto file = path / name(segno);
    std::ofstream(file, std::ios::trunc).close();
    std::filesystem::resize_file(file, bytes);
    std::filesystem::last_write_time(file, std::filesystem::file_time_type::clock::now() - 1h);
  }
  SizeWatch::Archive archive() {
    return {.path = path,
            .identity = io::identity_of_directory(*io::open_directory(path)).value(),
            .segment_size = kSize,
            .system_identifier = 7};
  }
  SizeWatch::Hooks hooks() {
    return {.log = log,
            .board = board,
            .durability_lost = [](const Error&) { std::abort(); },
            .found = [this](const archive::Loss& loss) { found.push_back(loss); },
            .shown = [this] { ++shown; }};
  }
  static bool soon(const std::function<bool()>& there) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (!there() && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(2ms);
    return there();
  }

  std::filesystem::path path;
  SharedLog log;
  StatusBoard board;
  std::vector<archive::Loss> found;  ///< read when the watch has ended
  int shown = 0;
};

TEST_F(SizeWatchTest, RecordsWhatIsNoSegmentAndClosesItWhenItIsMended) {
  put(4, 0);
  put(5, 100);
  put(7, kSize.bytes() + 1);
  {
    const SizeWatch watch(archive(), hooks(), 5ms);
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 2; })) << log.text();
    const auto losses = board.read().losses;
    EXPECT_EQ(losses[0].id(), "hole-1-0-400000");
    EXPECT_EQ(losses[0].end, kSize.start(6));
    EXPECT_EQ(losses[1].id(), "hole-1-0-700000");
    EXPECT_TRUE(std::filesystem::exists(path / ".pgweir-loss-hole-1-0-400000"));
    put(5, kSize.bytes());
    ASSERT_TRUE(soon([&] { return board.read().losses[0].bytes() == kSize.bytes(); }));
    put(4, kSize.bytes());
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 1; }));
    EXPECT_EQ(board.read().losses[0].id(), "hole-1-0-700000");
  }
  EXPECT_THAT(log.text(), HasSubstr("3 complete segments have the wrong size"));
  EXPECT_THAT(log.text(), HasSubstr("the loss hole-1-0-400000 is closed"));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].system_identifier, 7u);
  EXPECT_FALSE(found[0].found.empty());
  EXPECT_GE(shown, 1);
}

TEST_F(SizeWatchTest, KeepsClosedWhatTheSessionStillHas) {
  put(4, 0);
  put(7, 0);
  {
    const SizeWatch watch(archive(), hooks(), 5ms);
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 2; }));
    board.set_losses(board.read().losses);  // as the next start reads them
    put(4, kSize.bytes());
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 1; }));
    put(7, kSize.bytes());
    ASSERT_TRUE(
        soon([&] { return log.text().find("hole-1-0-700000 is closed") != std::string::npos; }));
    ASSERT_TRUE(soon([&] { return board.read().losses.empty(); }));
  }
  EXPECT_TRUE(board.read().losses.empty());
}

TEST_F(SizeWatchTest, ClosesWhatWasMendedBeforeTheWatchCameToIt) {
  put(4, 0);
  {
    const SizeWatch watch(archive(), hooks(), 5ms);
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 1; }));
  }
  const auto losses = board.read().losses;
  put(4, kSize.bytes());
  board.set_watched_losses({}, {});
  board.set_losses(losses);  // as the next start read them, a moment before
  {
    auto with_recorded = archive();
    with_recorded.recorded = {losses.at(0).id()};
    const SizeWatch watch(with_recorded, hooks(), 5ms);
    ASSERT_TRUE(soon([&] { return board.read().losses.empty(); })) << log.text();
  }
  EXPECT_THAT(log.text(), HasSubstr("the loss hole-1-0-400000 is closed"));
}

TEST_F(SizeWatchTest, ChecksAgainAfterTheArchiveCouldNotBeRead) {
  put(4, 0);
  const auto expected = archive();
  const auto away = path.string() + "-away";
  std::filesystem::rename(path, away);
  {
    const SizeWatch watch(expected, hooks(), 1ms);
    const std::string_view failure = "the sizes of the segments could not be checked: ";
    ASSERT_TRUE(soon([&] { return log.text().find(failure) != std::string::npos; }));
    std::filesystem::rename(away, path);
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 1; })) << log.text();
    // Told once, however often it failed.
    EXPECT_EQ(log.text().find(failure), log.text().rfind(failure)) << log.text();
  }
}

TEST_F(SizeWatchTest, LeavesALossAloneThatHasNothingToDoWithSizes) {
  std::filesystem::remove(path / name(4));
  put(7, 0);
  const archive::Loss hole{.timeline = 1,
                           .next_timeline = 1,
                           .begin = kSize.start(4),
                           .end = kSize.start(5),
                           .system_identifier = 7,
                           .segment_size = kSize,
                           .sound_end = kSize.start(4)};
  {
    const auto directory = io::open_directory(path);
    archive::record_loss(*directory, hole);
  }
  board.set_losses({hole});
  {
    auto with_recorded = archive();
    with_recorded.recorded = {hole.id()};
    const SizeWatch watch(with_recorded, hooks(), 5ms);
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 2; })) << log.text();
  }
  EXPECT_EQ(board.read().losses[0].id(), hole.id());
  EXPECT_THAT(log.text(), ::testing::Not(HasSubstr("is closed")));
}

TEST_F(SizeWatchTest, NamesSomeOfMany) {
  for (const std::uint64_t segno : {2, 4, 6, 8}) put(segno, 0);
  {
    const SizeWatch watch(archive(), hooks(), 5ms);
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 4; })) << log.text();
    ASSERT_TRUE(soon([&] { return log.text().find("recorded as") != std::string::npos; }));
  }
  EXPECT_THAT(log.text(), HasSubstr("4 complete segments have the wrong size"));
  EXPECT_THAT(log.text(), HasSubstr("; recorded as hole-1-0-200000, hole-1-0-400000, "
                                    "hole-1-0-600000, …"));
}

TEST_F(SizeWatchTest, SaysNothingOfASoundArchive) {
  {
    const SizeWatch watch(archive(), hooks(), 5ms);
    ASSERT_TRUE(soon([&] { return !log.text().empty(); }));
  }
  EXPECT_EQ(log.text(), "checked the sizes of 9 complete segments\n");
  EXPECT_TRUE(board.read().losses.empty());
}

TEST_F(SizeWatchTest, EndsInTheMiddleOfItsWork) {
  put(4, 0);
  for (int i = 0; i < 100; ++i) const SizeWatch watch(archive(), hooks(), 1ms);
}

TEST_F(SizeWatchTest, LooksAtNoOtherDirectoryOfTheSameName) {
  put(4, 0);
  auto other = archive();
  ++other.identity.inode;
  {
    const SizeWatch watch(other, hooks(), 1ms);
    const SizeWatch ours(archive(), hooks(), 1ms);
    ASSERT_TRUE(soon([&] { return board.read().losses.size() == 1; }));
  }
  EXPECT_EQ(log.text().find("looked at"), log.text().rfind("looked at")) << "one of the two";
}

TEST_F(SizeWatchTest, TellsThatItCannotLook) {
  const auto nowhere = archive();
  std::filesystem::remove_all(path);
  {
    const SizeWatch watch(nowhere, hooks(), 1ms);
    ASSERT_TRUE(soon([&] { return !log.text().empty(); }));
  }
  EXPECT_THAT(log.text(), HasSubstr("the sizes of the segments could not be checked"));
}

}  // namespace
}  // namespace weir::receive::size_watch_test
