#include "receive/loss_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "archive/losses.h"
#include "archive/own_names.h"
#include "io/posix_directory.h"
#include "unit/receive/recording_log.h"

namespace weir::receive::loss_watch_test {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

archive::Loss hole(std::uint64_t begin, std::uint64_t end) {
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = loss.counted_to = kSize.start(begin);
  loss.end = kSize.start(end);
  loss.segment_size = kSize;
  return loss;
}

class LossWatchTest : public ::testing::Test {
 protected:
  LossWatchTest() {
    std::string pattern = "/tmp/pgweir-losses-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path = pattern;
    directory = io::open_directory(path);
  }
  ~LossWatchTest() override { std::filesystem::remove_all(path); }

  std::vector<std::string> told() const {
    std::vector<std::string> ids;
    for (const auto& loss : board.read().losses) ids.push_back(loss.id());
    return ids;
  }
  static bool soon(const std::function<bool()>& there) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (!there() && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(2ms);
    return there();
  }
  void remove_record(const archive::Loss& loss) {
    directory->remove(archive::loss_record_name(loss.id()));
  }

  std::filesystem::path path;
  std::unique_ptr<io::Directory> directory;
  test::RecordingLog log;
  StatusBoard board;
};

TEST_F(LossWatchTest, TellsNoHoleAnyMoreWhoseRecordIsGone) {
  const auto closed = hole(3, 5);
  const auto open = hole(7, 8);
  static_cast<void>(archive::record_loss(*directory, closed));
  static_cast<void>(archive::record_loss(*directory, open));
  board.set_losses({closed, open});
  LossWatch watch(*directory, machine_threads(), board, log, 5ms);
  remove_record(closed);
  EXPECT_TRUE(soon([&] { return told().size() == 1; }));
  EXPECT_THAT(told(), ElementsAre(open.id()));
  // The session has read it before, and says so whenever it tells what it knows.
  board.set_losses({closed, open});
  EXPECT_THAT(told(), ElementsAre(open.id()));
  remove_record(open);
  EXPECT_TRUE(soon([&] { return told().empty(); }));
  // The same hole once more.
  static_cast<void>(archive::record_loss(*directory, closed));
  board.set_losses({closed, open});
  EXPECT_TRUE(soon([&] { return told().size() == 1; }));
  EXPECT_THAT(told(), ElementsAre(closed.id()));
}

TEST_F(LossWatchTest, TellsWhatIsNotRecordedYet) {
  auto pending = hole(3, 5);
  pending.recorded = false;
  const auto closed = hole(7, 8);
  board.set_losses({pending, closed});
  LossWatch watch(*directory, machine_threads(), board, log, 5ms);
  EXPECT_TRUE(soon([&] { return told().size() == 1; }));
  EXPECT_THAT(told(), ElementsAre(pending.id()));
}

}  // namespace
}  // namespace weir::receive::loss_watch_test
