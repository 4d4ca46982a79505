#include "archive/minimal_wal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "archive/own_names.h"
#include "base/error.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"
#include "wal/timeline_history.h"

namespace weir::archive::minimal_wal_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wal::Lsn;

Lsn before(Lsn at, std::uint64_t bytes) { return Lsn(at - Lsn(0) - bytes); }

constexpr std::uint64_t kMB = 1 << 20;
const wal::SegmentSize kSize = *wal::SegmentSize::of(kMB);

class MinimalWalTest : public ::testing::Test {
 protected:
  MinimalWalTest() { builder.append_random(3000); }

  /// XLOG_PARAMETER_CHANGE.
  static testing::WalBuilder::Record set_level_in(testing::WalBuilder& wal, unsigned char level) {
    std::vector<std::byte> body = {std::byte{255}, std::byte{26}};
    body.resize(28);
    body[22] = std::byte{level};
    return wal.append(0, 0x60, body);
  }
  testing::WalBuilder::Record set_level(unsigned char level) {
    return set_level_in(builder, level);
  }
  /// Timeline 1 lowers the level, and raises it again or not. Timeline 2, which has left it before,
  /// does the same at a position between.
  void expect_both_branches(bool raises) {
    const auto left = builder.fork_point(builder.end());
    auto two = builder.fork(left, 2, 9);
    const auto lowered = set_level(0);
    builder.append_random(5000);
    if (raises) set_level(1);
    again(builder.start());
    ASSERT_THAT(read(), SizeIs(1));
    const auto content = "1\t" + left.to_string() + "\tno recovery target specified\n";
    disk.put(wal::history_name(2), test::as_bytes(content));
    two.append_random(1000);
    const auto lowered_again = set_level_in(two, 0);
    const auto raised_again = set_level_in(two, 1);
    minimal = MinimalWal();
    minimal.begin(
        {.timeline = 2, .start = two.start(), .system_identifier = 7, .segment_size = kSize},
        read());
    const auto history = wal::TimelineHistory::parse(2, content);
    ASSERT_TRUE(history);
    wal::RecordVerifier reading(
        {.segment_size = kSize, .timeline = 2, .observer = &minimal, .history = &*history},
        two.start());
    ASSERT_FALSE(reading.feed(two.bytes(two.start(), two.end())));
    record();
    const auto found = read();
    ASSERT_THAT(found, SizeIs(2));
    EXPECT_EQ(found[0].timeline, 1u);
    EXPECT_EQ(found[0].begin, lowered.start);
    EXPECT_EQ(found[0].goes_on, !raises);
    EXPECT_EQ(found[1].timeline, 2u);
    EXPECT_EQ(found[1].begin, lowered_again.start);
    EXPECT_EQ(found[1].end, raised_again.end);
    EXPECT_FALSE(found[1].goes_on);
  }

  [[nodiscard]] wal::RecordVerifier verifier(Lsn start) {
    return {{.segment_size = kSize, .observer = &minimal}, start};
  }
  void begin(Lsn start, std::vector<Loss> recorded = {}, Lsn server_end = {}) {
    minimal.begin({.timeline = 1,
                   .start = start,
                   .server_end = server_end,
                   .system_identifier = 7,
                   .segment_size = kSize},
                  std::move(recorded));
  }
  /// As the loop does before it writes.
  void record() {
    if (minimal.must_record())
      minimal.record(*disk.open(), "now", [&](const Loss& loss) { told.push_back(loss); });
  }
  std::vector<Loss> read() {
    const auto directory = disk.open();
    return archive::read_losses(*directory, archive::list_archive(*directory));
  }
  /// A receiver that starts anew streams from the segment's begin.
  void again(Lsn start) {
    minimal = MinimalWal();
    begin(start, read());
    auto reading = verifier(start);
    ASSERT_FALSE(reading.feed(builder.bytes(start, builder.end())));
    record();
  }

  sim::SimDisk disk;
  testing::WalBuilder builder{{}};
  MinimalWal minimal;
  std::vector<Loss> told;
};

TEST_F(MinimalWalTest, RecordsEachTimeOnceAndWithItsEnd) {
  const auto lowered = set_level(0);
  builder.append_random(2000);
  const auto raised = set_level(1);
  const auto lowered_again = set_level(0);
  set_level(0);
  const auto raised_again = set_level(2);
  set_level(1);
  again(builder.start());
  ASSERT_THAT(told, SizeIs(2));
  ASSERT_EQ(read(), told);
  EXPECT_EQ(told[0].kind, Loss::Kind::minimal_wal);
  EXPECT_EQ(told[0].begin, lowered.start);
  EXPECT_EQ(told[0].end, raised.end);
  EXPECT_FALSE(told[0].goes_on);
  EXPECT_EQ(told[1].begin, lowered_again.start);
  EXPECT_EQ(told[1].end, raised_again.end);
  again(builder.start());
  again(builder.start());
  EXPECT_THAT(told, SizeIs(2)) << "read again, and known";
  EXPECT_THAT(read(), SizeIs(2));
}

TEST_F(MinimalWalTest, IsDurableBeforeTheRecordsLastByteIsWritten) {
  const auto lowered = set_level(0);
  begin(builder.start());
  auto reading = verifier(builder.start());
  ASSERT_FALSE(reading.feed(builder.bytes(builder.start(), before(lowered.end, 8))));
  EXPECT_FALSE(minimal.must_record()) << "its checksum covers its end";
  ASSERT_FALSE(reading.feed(builder.bytes(before(lowered.end, 8), lowered.end)));
  EXPECT_TRUE(minimal.must_record());
  disk.fail_every(sim::SimDisk::Operation::sync_directory, EIO);
  EXPECT_EQ(test::error_of([&] { record(); }).kind(), ErrorKind::durability);
  EXPECT_TRUE(minimal.must_record()) << "it failed";
  disk.set_hook({});
  record();
  EXPECT_FALSE(minimal.must_record());
  disk.crash_losing_everything();
  ASSERT_THAT(read(), SizeIs(1));
  EXPECT_TRUE(read()[0].goes_on);
  EXPECT_EQ(read()[0].end, lowered.end);
}

TEST_F(MinimalWalTest, EndsATimeThatAnEarlierReceiverRecorded) {
  const auto lowered = set_level(0);
  again(builder.start());
  ASSERT_THAT(read(), SizeIs(1));
  // The next one begins to stream behind that record.
  builder.grow_to(builder.start() + kMB);
  const auto next = builder.start() + kMB;
  const auto raised = set_level(1);
  again(next);
  ASSERT_THAT(read(), SizeIs(1));
  EXPECT_EQ(read()[0].begin, lowered.start);
  EXPECT_EQ(read()[0].end, raised.end);
  EXPECT_FALSE(read()[0].goes_on);
}

/// The record that raised wal_level again may be in the hole: nobody will see it.
TEST_F(MinimalWalTest, EndsATimeThatAHoleCutsOff) {
  const auto lowered = set_level(0);
  again(builder.start());
  Loss hole;
  hole.timeline = hole.next_timeline = 1;
  hole.begin = builder.start() + kMB;
  hole.end = builder.start() + 2 * kMB;
  auto recorded = read();
  ASSERT_THAT(recorded, SizeIs(1));
  recorded.push_back(hole);
  builder.grow_to(hole.end + 20'000);
  const auto server_end = builder.end();
  builder.append_random(3000);

  begin(hole.end, recorded, server_end);
  EXPECT_FALSE(minimal.must_record(before(server_end, 1))) << "it may be raised there";
  EXPECT_TRUE(minimal.must_record(server_end)) << "it streams";
  minimal.record(
      *disk.open(), "now", [](const Loss&) {}, server_end);
  EXPECT_FALSE(minimal.must_record(builder.end()));
  ASSERT_THAT(read(), SizeIs(1));
  EXPECT_EQ(read()[0].begin, lowered.start);
  EXPECT_EQ(read()[0].end, hole.begin);
  EXPECT_FALSE(read()[0].goes_on);

  // Raised behind it: no recovery passes what lies between, either.
  const auto raised = set_level(1);
  begin(hole.end, recorded, builder.end());
  auto reading = verifier(hole.end);
  ASSERT_FALSE(reading.feed(builder.bytes(hole.end, builder.end())));
  minimal.record(
      *disk.open(), "now", [](const Loss&) {}, builder.end());
  ASSERT_THAT(read(), SizeIs(1));
  EXPECT_EQ(read()[0].end, raised.end);
  EXPECT_FALSE(read()[0].goes_on);
}

TEST_F(MinimalWalTest, RecordsATimeBehindAHoleThatEndedAnotherOne) {
  const auto lowered = set_level(0);
  again(builder.start());
  Loss hole;
  hole.timeline = hole.next_timeline = 1;
  hole.begin = builder.start() + kMB;
  hole.end = builder.start() + 2 * kMB;
  auto recorded = read();
  recorded.push_back(hole);
  builder.grow_to(hole.end + 20'000);
  const auto lowered_again = set_level(0);
  const auto raised_again = set_level(1);
  begin(hole.end, recorded);
  auto reading = verifier(hole.end);
  ASSERT_FALSE(reading.feed(builder.bytes(hole.end, lowered_again.end)));
  record();
  ASSERT_THAT(read(), SizeIs(2));
  EXPECT_EQ(read()[0].begin, lowered.start);
  EXPECT_EQ(read()[0].end, hole.begin);
  EXPECT_FALSE(read()[0].goes_on);
  EXPECT_EQ(read()[1].begin, lowered_again.start);
  EXPECT_TRUE(read()[1].goes_on);
  ASSERT_FALSE(reading.feed(builder.bytes(lowered_again.end, raised_again.end)));
  record();
  EXPECT_EQ(read()[1].end, raised_again.end);
  EXPECT_FALSE(read()[1].goes_on);
}

TEST_F(MinimalWalTest, RecordsATimeAtThePositionOfOneOfAnotherBranch) {
  expect_both_branches(true);
}

TEST_F(MinimalWalTest, RecordsATimeAfterOneOfAnotherBranchThatGoesOn) {
  expect_both_branches(false);
}

TEST_F(MinimalWalTest, FindsARecordOverTheBorderOfTwoSegments) {
  const auto border = builder.start() + kMB;
  while (builder.end() < before(border, 4000)) builder.append_random(1000);
  builder.append_up_to(before(border, 32));
  const auto lowered = set_level(0);
  ASSERT_GT(lowered.end, border);
  begin(builder.start());
  auto reading = verifier(builder.start());
  ASSERT_FALSE(reading.feed(builder.bytes(builder.start(), border)));
  EXPECT_FALSE(minimal.must_record());
  // The stream ends, and another one begins at the border with what was read up to there.
  begin(border);
  ASSERT_FALSE(reading.feed(builder.bytes(border, builder.end())));
  record();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].begin, lowered.start);
}

TEST_F(MinimalWalTest, ForgetsWhatAStreamNoticedAndDidNotWrite) {
  set_level(0);
  begin(builder.start());
  auto reading = verifier(builder.start());
  ASSERT_FALSE(reading.feed(builder.bytes()));
  EXPECT_TRUE(minimal.must_record());
  begin(builder.start());
  EXPECT_FALSE(minimal.must_record());
  EXPECT_THAT(read(), IsEmpty());
}

}  // namespace
}  // namespace weir::archive::minimal_wal_test
