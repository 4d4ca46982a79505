#include "web/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "io/small_file.h"
#include "support/backup_builder.h"

namespace weir::web::recorder_test {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
namespace tell = receive::event;

std::vector<std::string> texts(const History& history) {
  std::vector<std::string> found;
  for (const auto& event : history.events())
    found.push_back((event.trouble ? "! " : "  ") + event.text);
  return found;
}

TEST(Recorder, NotesWhatHappensInWords) {
  const test::TemporaryDirectory archive;
  receive::Feed feed;
  const receive::StatusBoard board(&feed);
  const Recorder recorder(feed, board, archive.path());
  const Error error(ErrorKind::io, "it broke");
  feed.publish(tell::Trouble{error});
  feed.publish(tell::NotCompressed{wal::SegmentName(1, 2, wal::SegmentSize()),
                                   Error(ErrorKind::io, "no room")});
  feed.publish(tell::DiskFull{true});
  feed.publish(tell::DiskFull{false});
  feed.publish(tell::TimelineSwitched{2, wal::Lsn(0x3000100)});
  archive::Loss loss;
  loss.timeline = 1;
  loss.begin = wal::Lsn(0x1000000);
  loss.end = wal::Lsn(0x2000000);
  feed.publish(tell::LossRecorded{loss});
  loss.kind = archive::Loss::Kind::lost_branch;
  feed.publish(tell::LossRecorded{loss});
  feed.publish(tell::StoreTrouble{error});
  feed.publish(tell::StoreWorks{});
  feed.publish(tell::FeedsDiffer{});
  archive::DownstreamClient client;
  client.application_name = "standby";
  client.client_address = "::1";
  feed.publish(tell::ClientGone{client, "it hung up"});
  const auto history = recorder.history();
  EXPECT_THAT(texts(history),
              ElementsAre("! it broke", "! no room", "! the disk is full",
                          "  the disk has space again", "  switched to timeline 2 at 0/3000100",
                          "! WAL is missing from 0/1000000 to 0/2000000 on timeline 1",
                          "! a failover abandoned WAL from 0/1000000 to 0/2000000 on timeline 1",
                          "! not sent to the store: it broke", "  the store accepts WAL again",
                          "! a second upstream has other WAL",
                          "  standby (::1) is no longer served: it hung up"));
  ASSERT_THAT(history.hours(), SizeIs(1));
  EXPECT_EQ(history.hours()[0].holes, 2U);
}

TEST(Recorder, GoesOnWithWhatTheFileSays) {
  const test::TemporaryDirectory archive;
  receive::Feed feed;
  const receive::StatusBoard board(&feed);
  std::function<void(bool)> keep;
  {
    const Recorder recorder(feed, board, archive.path());
    keep = recorder.keeper();
    feed.publish(tell::DiskFull{true});
    keep(true);
  }
  const auto known = read_history(archive.path());
  ASSERT_TRUE(known);
  EXPECT_THAT(texts(*known), ElementsAre("! the disk is full"));
  {
    const Recorder recorder(feed, board, archive.path());
    feed.publish(tell::StoreWorks{});  // before the file is read
    recorder.keeper()(true);
    EXPECT_THAT(texts(recorder.history()),
                ElementsAre("! the disk is full", "  the store accepts WAL again"));
  }
  EXPECT_THAT(read_history(archive.path())->events(), SizeIs(2));
}

TEST(Recorder, ForgetsTheFreeSpaceOfTheDiskThatTheFileWasCopiedFrom) {
  const test::TemporaryDirectory archive;
  const test::TemporaryDirectory copy;
  const test::TemporaryDirectory other;
  receive::Feed feed;
  const receive::StatusBoard board(&feed);
  const Recorder recorder(feed, board, archive.path());
  feed.publish(tell::StoreWorks{});
  recorder.keeper()(true);
  std::filesystem::copy_file(archive.path(kHistoryName), copy.path(kHistoryName));
  const auto text = io::read_small_file(archive.path(kHistoryName), 1 << 20);
  other.write(kHistoryName,
              std::regex_replace(text, std::regex("\"file_system\":\\d+"), "\"file_system\":1"));
  const auto known = read_history(archive.path());
  const auto copied = read_history(copy.path());
  const auto elsewhere = read_history(other.path());
  ASSERT_TRUE(known && copied && elsewhere);
  ASSERT_THAT(known->hours(), SizeIs(1));
  EXPECT_GT(known->hours()[0].free, 0U);
  EXPECT_EQ(copied->hours(), known->hours()) << "on the same disk";
  ASSERT_THAT(elsewhere->hours(), SizeIs(1));
  EXPECT_EQ(elsewhere->hours()[0].free, 0U);
  EXPECT_THAT(elsewhere->events(), SizeIs(1)) << "what happened to its WAL";
}

TEST(Recorder, BeginsANewHistoryWhereTheFileCannotBeRead) {
  const test::TemporaryDirectory archive;
  EXPECT_FALSE(read_history(archive.path())) << "none";
  archive.write(kHistoryName, "rubbish");
  EXPECT_FALSE(read_history(archive.path())) << "rubbish";
  archive.write(kHistoryName, std::string((1 << 20) + 1, ' '));
  EXPECT_FALSE(read_history(archive.path())) << "larger than any that is written";
  std::filesystem::remove(archive.path(kHistoryName));
  std::filesystem::create_directory(archive.path(kHistoryName));
  EXPECT_FALSE(read_history(archive.path())) << "a directory";
  receive::Feed feed;
  const receive::StatusBoard board(&feed);
  const Recorder recorder(feed, board, archive.path());
  feed.publish(tell::StoreWorks{});
  recorder.keeper()(true);  // cannot be written either, which is no trouble for anybody
  EXPECT_THAT(recorder.history().events(), SizeIs(1));
}

}  // namespace
}  // namespace weir::web::recorder_test
