#include "receive/status_board.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "receive/board_json.h"

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
  EXPECT_EQ(board.view().archived_bytes(), 500u);
  board.set_live({});
  EXPECT_EQ(board.view().archived_bytes(), 500u);
  EXPECT_EQ(board.view().content.last_stream->flush, wal::Lsn(1500));
  board.set_live([] { return at(1000, 1700); });
  EXPECT_EQ(board.view().archived_bytes(), 1200u);
  EXPECT_EQ(board.view().content.streams, 2u);
  board.set_live({});
}

TEST(StatusBoard, TellsARateOverTheLastTicks) {
  StatusBoard board;
  const Time begin = std::chrono::steady_clock::now();
  std::uint64_t position = 1000;
  board.set_live([&] { return at(1000, position); });
  EXPECT_EQ(board.view().bytes_per_second(begin), std::nullopt);
  board.tick(at(1000, 1000), begin);
  board.tick(at(1000, 1001), begin + 1s);  // too near to the last one to count
  position = 5000;
  EXPECT_EQ(board.view().bytes_per_second(begin + 40s), 100u);
  board.tick(at(1000, 5000), begin + 40s);
  board.tick(at(1000, 6000), begin + 80s);
  position = 6000;
  EXPECT_EQ(board.view().bytes_per_second(begin + 90s), 20u);
  board.set_live({});
  EXPECT_EQ(board.view().bytes_per_second(begin + 90s), std::nullopt);
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
  EXPECT_TRUE(board.read().disk_full);
  feed.publish(event::DiskFull{false});
  EXPECT_FALSE(board.read().disk_full);
  feed.publish(event::ServerChanged{});
  EXPECT_EQ(board.read().server, "");
}

TEST(StatusBoard, TellsHowLongSyncsTakeAndCountsTheSlowOnes) {
  Feed feed;
  const StatusBoard board(&feed);
  EXPECT_FALSE(nlohmann::json::parse(board_json(board.view())).contains("syncs"));
  for (int i = 0; i < 99; ++i) feed.publish(event::SyncDone{2ms});
  feed.publish(event::SyncDone{1500ms});
  const auto json = nlohmann::json::parse(board_json(board.view()));
  EXPECT_EQ(json.at("syncs").at("count"), 100);
  EXPECT_NEAR(json.at("syncs").at("p50_ms"), 2.2, 0.21);
  EXPECT_NEAR(json.at("syncs").at("p99_ms"), 2.2, 0.21);
  EXPECT_EQ(json.at("syncs").at("worst_ms"), 1500);
  EXPECT_EQ(json.at("slow_syncs"), 1);
}

TEST(StatusBoard, TellsSinceWhenTheDiskIsFullAndNotSinceWhenItStreams) {
  const auto since = [](const StatusBoard& board) {
    return nlohmann::json::parse(board_json(board.view()))["state_since"].get<std::string>();
  };
  StatusBoard board;
  board.on_event(event::StateChanged{"streaming"});
  const auto streaming = since(board);
  const auto full = std::chrono::system_clock::now() + 1h;
  board.update([&](auto& content) {
    content.disk_full = true;
    content.disk_full_since = full;
  });
  EXPECT_NE(since(board), streaming);
  EXPECT_EQ(board.read().shown_state_since(), full);
  board.update([](auto& content) { content.disk_full = false; });
  EXPECT_EQ(since(board), streaming);
}

TEST(StatusBoard, SaysAllOfItAsJson) {
  StatusBoard board;
  board.set_live([] { return at(1000, 1500); });
  board.on_event(event::Trouble{Error(ErrorKind::retry, "no server")});
  board.update([](auto& content) {
    content.segments_finished = 7;
    content.slot_view = pq::SlotView{.exists = true, .safe_wal_size = 64, .retained = 32};
  });
  const auto json = nlohmann::json::parse(board_json(board.view()));
  EXPECT_EQ(json.at("archived_bytes"), 500);
  EXPECT_EQ(json.at("streams"), 1);
  EXPECT_EQ(json.at("errors"), 1);
  EXPECT_EQ(json.at("segments_finished"), 7);
  EXPECT_EQ(json.at("slot_safe_wal_size"), 64);
  EXPECT_EQ(json.at("slot_retained_bytes"), 32);
  EXPECT_EQ(json.at("lag_bytes"), 10);
  EXPECT_EQ(json.at("last_error"), "no server");
  EXPECT_FALSE(json.contains("bytes_per_second"));
  board.set_live({});
  EXPECT_FALSE(nlohmann::json::parse(board_json(board.view())).contains("lag_bytes"));
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
