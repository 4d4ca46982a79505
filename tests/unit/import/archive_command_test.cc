#include "import/archive_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>

#include "support/archive_builder.h"

namespace weir::importing::archive_command_test {
namespace {

using ::testing::HasSubstr;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::history_line;
using verify::kSize;

std::string name(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return wal::SegmentName(timeline, segno, kSize).to_string();
}

/// A server whose timeline 2 begins in segment 4, with its pg_wal, and an archive.
class ArchiveCommandTest : public ::testing::Test {
 protected:
  ArchiveCommandTest() {
    std::filesystem::create_directory(pg_wal_);
    one_.grow_to(kSize.start(6));
    fork_ = one_.fork_point(kSize.start(4) + 400'000);
    two_.emplace(verify::promote(one_, fork_, 2, 9));
    two_->grow_to(kSize.start(7));
  }
  ~ArchiveCommandTest() override { std::filesystem::remove_all(pg_wal_); }
  ArchiveCommandTest(const ArchiveCommandTest&) = delete;
  ArchiveCommandTest& operator=(const ArchiveCommandTest&) = delete;

  void put(const std::string& file, std::span<const std::byte> content) const {
    std::ofstream out(pg_wal_ / file, std::ios::binary);
    out.write(reinterpret_cast<const char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
    ASSERT_TRUE(out.flush());
  }
  void put_segment(WalBuilder& wal, std::uint64_t segno) const {
    put(ArchiveBuilder::name(wal, segno), ArchiveBuilder::content(wal, segno));
  }
  void put_history() const {
    const auto text = history_line(1, fork_);
    put("00000002.history", std::as_bytes(std::span(text)));
  }
  /// What a promotion leaves of segment 4.
  void put_partial() {
    auto bytes = one_.bytes(kSize.start(4), fork_);
    test::Bytes content(bytes.begin(), bytes.end());
    content.resize(kSize.bytes());
    put(name(4) + ".partial", content);
  }
  /// As the server's archiver asks; empty: the archive has it.
  std::string ask(const std::string& file) {
    const auto directory = archive_.disk.open();
    const auto left_out = archive_file(*directory, {.path = pg_wal_ / file,
                                                    .try_lock = [] { return true; },
                                                    .release_lock = [] {},
                                                    .patience = std::chrono::milliseconds(0)});
    return left_out ? left_out->what : "";
  }
  void expect_sound(std::uint64_t behind) {
    verify::Options options;
    options.look_again_after = std::chrono::milliseconds(0);
    const auto report = archive_.verify(options);
    EXPECT_TRUE(report.sound()) << to_text(report);
    ASSERT_FALSE(report.histories.empty());
    ASSERT_EQ(report.histories.back().sound.size(), 1u) << to_text(report);
    EXPECT_GE(report.histories.back().sound.back().end, kSize.start(behind));
  }

  const std::filesystem::path pg_wal_ =
      std::filesystem::path(::testing::TempDir()) / ("pgweir-pg-wal-" + std::to_string(::getpid()));
  WalBuilder one_{WalBuilder::Options{}};
  wal::Lsn fork_;
  std::optional<WalBuilder> two_;
  ArchiveBuilder archive_;
};

/// The server's archiver asks for the history first, and again and again, before anything else.
TEST_F(ArchiveCommandTest, TakesTheHistoryOfAPromotionAndThenItsSegments) {
  archive_.segments(one_, 1, 4);
  put_history();
  put_partial();
  put_segment(*two_, 4);
  put_segment(*two_, 5);
  EXPECT_EQ(ask("00000002.history"), "");
  EXPECT_TRUE(archive_.disk.exists("00000002.history"));
  EXPECT_EQ(ask(name(4) + ".partial"), "");
  EXPECT_EQ(ask(name(4, 2)), "");
  EXPECT_EQ(ask(name(5, 2)), "");
  expect_sound(6);
  EXPECT_EQ(ask("00000002.history"), "") << "again";
}

/// The primary of timeline 2 was gone before it had archived them, and the next one was a standby
/// from a base backup of timeline 2, which does not contain that file.
TEST_F(ArchiveCommandTest, TakesTheHistoriesOfAncestorsThatTheArchiveLacks) {
  archive_.segments(one_, 1, 4);
  const auto later = two_->fork_point(kSize.start(5) + 400'000);
  auto three = verify::promote(*two_, later, 3, 11);
  three.grow_to(kSize.start(6));
  const auto text = history_line(1, fork_) + history_line(2, later);
  put("00000003.history", std::as_bytes(std::span(text)));
  put_segment(*two_, 4);
  put_segment(three, 5);
  EXPECT_EQ(ask("00000003.history"), "");
  EXPECT_TRUE(archive_.disk.exists("00000003.history"));
  EXPECT_TRUE(archive_.disk.exists("00000002.history"));
  EXPECT_EQ(ask(name(5, 3)), "");
  expect_sound(6);
}

/// A standby that knows timeline 2, and does not follow it, is promoted to timeline 3.
TEST_F(ArchiveCommandTest, TakesTheHistoriesOfSkippedTimelines) {
  archive_.segments(one_, 1, 4);
  auto three = verify::promote(one_, fork_, 3, 11);
  three.grow_to(kSize.start(6));
  const auto of_two = history_line(1, kSize.start(3));
  const auto of_three = history_line(1, fork_);
  put("00000002.history", std::as_bytes(std::span(of_two)));
  put("00000003.history", std::as_bytes(std::span(of_three)));
  put_segment(three, 4);
  EXPECT_EQ(ask("00000003.history"), "");
  EXPECT_FALSE(archive_.disk.exists("00000002.history")) << "before its own WAL is here";
  EXPECT_EQ(ask(name(4, 3)), "");
  EXPECT_TRUE(archive_.disk.exists("00000002.history"));
  expect_sound(5);
}

TEST_F(ArchiveCommandTest, StartsAnEmptyArchiveAfterAPromotion) {
  put_history();
  put_segment(*two_, 4);
  EXPECT_EQ(ask("00000002.history"), "");
  EXPECT_EQ(ask(name(4, 2)), "");
  expect_sound(5);
}

TEST_F(ArchiveCommandTest, RefusesAnotherHistoryOfATimeline) {
  archive_.segments(one_, 1, 4).history(2, history_line(1, kSize.start(3)));
  put_history();
  put_segment(*two_, 4);
  EXPECT_THAT(ask("00000002.history"), HasSubstr("contradicts the archive's history"));
  archive_.history(2, "torn");
  EXPECT_THAT(ask("00000002.history"), HasSubstr("the archive's 00000002.history cannot be read"));
}

/// An earlier archive_command has archived it, and the server does not offer it again.
TEST_F(ArchiveCommandTest, TakesTheHistoryWithTheFirstSegmentOfItsTimeline) {
  for (const std::uint64_t begin : {1, 4}) {  // 4: an empty archive
    SCOPED_TRACE(begin);
    archive_.segments(one_, begin, 4);
    put_history();
    put_segment(*two_, 4);
    EXPECT_EQ(ask(name(4, 2)), "");
    EXPECT_TRUE(archive_.disk.exists("00000002.history"));
    expect_sound(5);
    for (const auto& each : archive_.disk.names()) archive_.disk.erase(each);
  }
}

/// The old primary was gone before it had archived them.
TEST_F(ArchiveCommandTest, TakesTheSegmentsBeforeAPromotionFromThePromotedServer) {
  archive_.segments(one_, 1, 2).history(2, history_line(1, fork_));
  put_history();
  put_segment(one_, 2);
  put_segment(one_, 3);
  put_segment(*two_, 4);
  put_segment(*two_, 5);
  EXPECT_EQ(ask(name(4, 2)), "");
  EXPECT_TRUE(archive_.disk.exists(name(2)) && archive_.disk.exists(name(3)));
  EXPECT_FALSE(archive_.disk.exists(name(5, 2))) << "the server may not have flushed it yet";
  expect_sound(5);
}

/// Another program has copied it, and the server removes its own file.
TEST_F(ArchiveCommandTest, MakesWhatTheArchiveHasDurable) {
  archive_.segments(one_, 1, 2);
  put_segment(one_, 2);
  archive_.disk.open()->create(name(2))->write_at(0, ArchiveBuilder::content(one_, 2));
  EXPECT_EQ(ask(name(2)), "");
  archive_.disk.crash_losing_everything();
  EXPECT_TRUE(archive_.disk.holds(name(2), 0, ArchiveBuilder::content(one_, 2)));
}

/// A server of another cluster, whose timelines have the same numbers.
TEST_F(ArchiveCommandTest, RefusesTheHistoryOfAnotherCluster) {
  WalBuilder::Options other;
  other.system_identifier = one_.options().system_identifier + 1;
  WalBuilder stranger(other);
  stranger.grow_to(kSize.start(4));
  archive_.segments(stranger, 1, 4);
  put_history();
  put_segment(*two_, 4);
  EXPECT_NE(ask("00000002.history"), "");
  EXPECT_FALSE(archive_.disk.exists("00000002.history"));
}

}  // namespace
}  // namespace weir::importing::archive_command_test
