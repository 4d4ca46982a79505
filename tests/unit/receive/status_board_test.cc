#include "receive/status_board.h"

#include <gtest/gtest.h>

namespace weir::receive::status_board_test {
namespace {

using namespace std::chrono_literals;

StreamSnapshot at(std::uint64_t start, std::uint64_t flush) {
  return {.timeline = 1,
          .start = wal::Lsn(start),
          .write = wal::Lsn(flush),
          .flush = wal::Lsn(flush),
          .archived_bytes = flush - start,
          .server_end = wal::Lsn(flush + 10),
          .last_message = std::chrono::steady_clock::now()};
}

TEST(StatusBoard, CountsWhatStreamsHaveArchivedAlsoThoseThatEnded) {
  StatusBoard board;
  board.set_live([] { return at(1000, 1500); });
  EXPECT_EQ(board.view().archived_bytes, 500u);
  board.set_live({});
  EXPECT_EQ(board.view().archived_bytes, 500u);
  EXPECT_EQ(board.view().last_stream->flush, wal::Lsn(1500));
  board.set_live([] { return at(1000, 1700); });
  EXPECT_EQ(board.view().archived_bytes, 1200u);
  EXPECT_EQ(board.view().streams, 2u);
  board.set_live({});
}

TEST(StatusBoard, TellsARateOverTheLastTicks) {
  StatusBoard board;
  const Time begin = std::chrono::steady_clock::now();
  std::uint64_t position = 1000;
  board.set_live([&] { return at(1000, position); });
  EXPECT_EQ(board.view(begin).bytes_per_second, std::nullopt);
  board.tick(at(1000, 1000), begin);
  board.tick(at(1000, 1001), begin + 1s);  // too near to the last one to count
  position = 5000;
  EXPECT_EQ(board.view(begin + 40s).bytes_per_second, 100u);
  board.tick(at(1000, 5000), begin + 40s);
  board.tick(at(1000, 6000), begin + 80s);
  position = 6000;
  EXPECT_EQ(board.view(begin + 90s).bytes_per_second, 20u);
  board.set_live({});
  EXPECT_EQ(board.view(begin + 90s).bytes_per_second, std::nullopt);
}

TEST(StatusBoard, ShowsWhatTheFeedTells) {
  Feed feed;
  StatusBoard board(&feed);
  feed.publish(event::StateChanged{"connecting"});
  feed.publish(event::ServerChanged{"db1:5432"});
  feed.publish(event::Trouble{Error(ErrorKind::retry, "no server")});
  const auto segment = *wal::SegmentName::parse("000000010000000000000003");
  feed.publish(event::SegmentFinished{segment, wal::Lsn(0x4000000)});
  feed.publish(event::NotCompressed{segment, Error(ErrorKind::io, "no luck")});
  auto content = board.read();
  EXPECT_EQ(content.state, "connecting");
  EXPECT_EQ(content.server, "db1:5432");
  EXPECT_EQ(content.last_error, "no luck");
  EXPECT_EQ(content.errors, 2u);
  EXPECT_EQ(content.segments_finished, 1u);
  feed.publish(event::Trouble{Error(ErrorKind::disk_full, "no space")});
  EXPECT_TRUE(board.read().disk_full_since);
  feed.publish(event::DiskFull{false});
  EXPECT_FALSE(board.read().disk_full_since);
  feed.publish(event::ServerChanged{});
  EXPECT_EQ(board.read().server, "db1:5432") << "the last one";
}

TEST(StatusBoard, TellsHowLongSyncsTakeAndCountsTheSlowOnes) {
  Feed feed;
  const StatusBoard board(&feed);
  EXPECT_FALSE(board.view().syncs);
  for (int i = 0; i < 99; ++i) feed.publish(event::SyncDone{2ms});
  feed.publish(event::SyncDone{1500ms});
  const auto view = board.view();
  ASSERT_TRUE(view.syncs);
  EXPECT_EQ(view.syncs->count, 100U);
  for (const auto each : {view.syncs->p50, view.syncs->p99}) {
    EXPECT_GE(each, 2ms);
    EXPECT_LE(each, 2410us);
  }
  EXPECT_EQ(view.syncs->worst, 1500ms);
  EXPECT_EQ(view.slow_syncs, 1U);
}

TEST(StatusBoard, TellsSinceWhenTheDiskIsFullAndNotSinceWhenItStreams) {
  StatusBoard board;
  board.on_event(event::StateChanged{"streaming"});
  const auto streaming = board.view().shown_state_since();
  EXPECT_EQ(board.view().shown_state(), "streaming");
  board.on_event(event::DiskFull{true});
  EXPECT_EQ(board.view().shown_state(), "disk full");
  EXPECT_EQ(board.view().shown_state_since(), board.read().disk_full_since);
  const auto full = board.view().shown_state_since();
  board.on_event(event::DiskFull{true});  // again: it is full since the first time
  EXPECT_EQ(board.view().shown_state_since(), full);
  board.on_event(event::DiskFull{false});
  EXPECT_EQ(board.view().shown_state_since(), streaming);
}

TEST(StatusBoard, KnowsTheLagWhileWalStreams) {
  StatusBoard board;
  EXPECT_EQ(board.view().lag(), std::nullopt);
  board.set_live([] { return at(1000, 1500); });
  EXPECT_EQ(board.view().lag(), 10U);
  board.set_live({});
  EXPECT_EQ(board.view().lag(), std::nullopt);
}

/// Packets of full size are lost on the way: each stream starts, and ends since nothing arrives.
TEST(StatusBoard, CountsAnOutageAndSilenceUntilAMessageArrives) {
  const Time start = std::chrono::steady_clock::now();
  auto stream = at(1000, 1500);
  stream.last_message = start;
  StatusBoard board;
  const auto begin = board.view().outage_since;
  ASSERT_TRUE(begin);
  board.set_live([&] { return stream; });
  EXPECT_EQ(board.view().outage_since, begin);
  board.set_live({});
  EXPECT_EQ(board.view().outage_since, begin);
  board.set_live([&] { return stream; });
  stream.heard = true;
  EXPECT_FALSE(board.view().outage_since);
  board.set_live({});
  const auto again = board.view().outage_since;
  ASSERT_TRUE(again);
  EXPECT_GE(*again, *begin);
  stream.heard = false;
  stream.last_message = start + 60s;
  board.set_live([&] { return stream; });
  EXPECT_EQ(board.view().outage_since, again);
  EXPECT_EQ(board.view(start + 70s).silence, 70s);
  stream.heard = true;
  EXPECT_EQ(board.view(start + 70s).silence, 10s);
  board.set_live({});
}

/// A machine whose clock was ahead until it got the time from the network: seen from then on, the
/// outage began in the future.
TEST(StatusBoard, KnowsHowLongAnOutageLastsAlsoIfTheClockIsSetBackMeanwhile) {
  const StatusBoard board;
  const auto view = board.view(std::chrono::steady_clock::now() + 1h);
  ASSERT_TRUE(view.outage_since);
  EXPECT_GE(view.taken - *view.outage_since, 1h - 1s);
  EXPECT_LE(view.taken - *view.outage_since, 1h + 5min);
}

archive::Loss hole(std::uint64_t begin, std::uint64_t end) {
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = wal::Lsn(begin);
  loss.end = wal::Lsn(end);
  return loss;
}

std::vector<std::string> ids(const StatusBoard& board) {
  std::vector<std::string> ids;
  for (const auto& loss : board.read().losses) ids.push_back(loss.id());
  return ids;
}

TEST(StatusBoard, TellsALossAtOnceThatIsRecordedAgainUnderTheIdOfOneThatWasRemoved) {
  StatusBoard board;
  const auto shorter = hole(0x300, 0x400);
  board.set_losses({shorter});
  board.set_removed_losses({shorter.id()});
  board.set_losses({shorter});  // the session has not read the records since
  EXPECT_TRUE(board.read().losses.empty());
  board.set_losses({hole(0x300, 0x500)});
  EXPECT_EQ(board.read().losses.size(), 1u);
}

TEST(StatusBoard, HasTheLossesOfTheSessionAndOfTheWatchTogether) {
  using Ids = std::vector<std::string>;
  StatusBoard board;
  board.set_losses({hole(0x300, 0x400), hole(0x500, 0x600)});
  board.set_watched_losses({hole(0x100, 0x200), hole(0x300, 0x400)}, {});
  EXPECT_EQ(ids(board), (Ids{"hole-1-0-100", "hole-1-0-300", "hole-1-0-500"}));
  // Somebody has acknowledged one of each; that stays, whoever tells the loss next.
  board.update([](auto& content) {
    for (auto& loss : content.losses)
      if (loss.begin < wal::Lsn(0x500))
        loss.acknowledged = archive::Loss::Acknowledgement{"t", "w", "r"};
  });
  board.set_losses({hole(0x300, 0x400), hole(0x500, 0x600)});
  board.set_watched_losses({hole(0x100, 0x200)}, {});
  const auto losses = board.read().losses;
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_TRUE(losses[0].acknowledged && losses[1].acknowledged && !losses[2].acknowledged);
  // What the watch has seen mended is gone, though the session has not looked again.
  board.set_watched_losses({hole(0x100, 0x200)}, {"hole-1-0-300"});
  board.set_losses({hole(0x300, 0x400), hole(0x500, 0x600)});
  EXPECT_EQ(ids(board), (Ids{"hole-1-0-100", "hole-1-0-500"}));
}

}  // namespace
}  // namespace weir::receive::status_board_test
