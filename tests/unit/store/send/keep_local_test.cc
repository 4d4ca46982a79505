#include "store/send/keep_local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "archive/durable_end.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "support/archive_builder.h"
#include "support/memory_store.h"
#include "support/recorded_begin.h"

namespace weir::store::keep_local_test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const wal::SegmentSize kSize;
constexpr std::chrono::system_clock::time_point kNow{1'000'000s};

wal::SegmentName segment(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, segno, kSize};
}
/// 1 to 6, of 10 bytes, each a minute younger than the one before; all are sent.
std::vector<LocalSegments> six() {
  std::vector<LocalSegments> all;
  for (std::uint64_t segno = 1; segno <= 6; ++segno)
    all.push_back({segno, {segment(segno)}, 10, kNow - (7 - segno) * 1min});
  return all;
}
Mark sent(std::uint64_t first, std::uint64_t last) {
  Mark mark;
  mark.segment_size = kSize;
  mark.sent.push_back({segment(first), segment(last)});
  return mark;
}
std::vector<std::uint64_t> numbers(const MayGo& result) {
  std::vector<std::uint64_t> all;
  for (const auto& number : result.numbers) all.push_back(number.segno);
  return all;
}
using Numbers = std::vector<std::uint64_t>;

TEST(KeepLocal, KeepsSoManyBytes) {
  const auto of = [](std::uint64_t bytes) {
    return numbers(may_go(six(), {.bytes = bytes}, sent(1, 6), std::nullopt, kNow));
  };
  EXPECT_EQ(of(60), Numbers());
  EXPECT_EQ(of(59), Numbers({1}));
  EXPECT_EQ(of(30), Numbers({1, 2, 3}));
  EXPECT_EQ(of(1), Numbers({1, 2, 3, 4, 5})) << "never the newest";
}

TEST(KeepLocal, KeepsWhatIsYoung) {
  const auto of = [](std::chrono::milliseconds age) {
    return numbers(may_go(six(), {.age = age}, sent(1, 6), std::nullopt, kNow));
  };
  EXPECT_EQ(of(10min), Numbers());
  EXPECT_EQ(of(4min), Numbers({1, 2}));
  EXPECT_EQ(of(1ms), Numbers({1, 2, 3, 4, 5}));
}

TEST(KeepLocal, LeavesNoGap) {
  auto all = six();
  all[1].written = kNow;  // imported just now
  EXPECT_EQ(numbers(may_go(all, {.age = 1min}, sent(1, 6), std::nullopt, kNow)), Numbers({1}));
}

TEST(KeepLocal, StopsAtWhatIsNotSent) {
  Mark mark = sent(1, 2);
  mark.sent.push_back({segment(4), segment(6)});
  const auto result = may_go(six(), {.bytes = 1}, mark, std::nullopt, kNow);
  EXPECT_EQ(numbers(result), Numbers({1, 2}));
  EXPECT_THAT(result.kept_for, HasSubstr(segment(3).to_string()));
}

TEST(KeepLocal, TimelinesOfOnePositionGoTogether) {
  auto all = six();
  all[2].segments.push_back(segment(3, 2));
  all[5].segments = {segment(6, 2)};
  Mark mark = sent(1, 5);
  EXPECT_EQ(numbers(may_go(all, {.bytes = 1}, mark, std::nullopt, kNow)), Numbers({1, 2}));
  mark.sent.push_back({segment(3, 2), segment(6, 2)});
  EXPECT_EQ(numbers(may_go(all, {.bytes = 1}, mark, std::nullopt, kNow)), Numbers({1, 2, 3, 4, 5}));
}

TEST(KeepLocal, TheNewestIsThatOfTheNewestTimeline) {
  auto all = six();
  all[3].segments.push_back(segment(4, 2));
  Mark mark = sent(1, 6);
  mark.sent.push_back({segment(4, 2), segment(4, 2)});
  EXPECT_EQ(numbers(may_go(all, {.bytes = 1}, mark, std::nullopt, kNow)), Numbers({1, 2, 3}));
}

/// The server was promoted before the archive's end, and the first segment of its timeline is not
/// complete.
TEST(KeepLocal, TheSegmentBeforeTheNewestTimelineStays) {
  verify::ArchiveBuilder builder;
  for (std::uint64_t segno = 1; segno <= 6; ++segno)
    builder.disk.put(segment(segno).to_string(), std::vector<std::byte>(10));
  const auto directory = builder.disk.open();
  const auto removed = [&] {
    auto mark = sent(1, 6);
    mark.add(segment(4, 2));
    return numbers(
        may_go(local_segments(*directory, kSize), {.bytes = 1}, mark, std::nullopt, kNow));
  };
  builder.disk.put(segment(7).to_string() + ".partial", std::vector<std::byte>(10));
  EXPECT_EQ(removed(), Numbers({1, 2, 3, 4, 5})) << "the segment before is the newest";
  for (const auto segno : {5, 4, 6})
    builder.disk.put(segment(segno, 2).to_string() + ".partial", std::vector<std::byte>(10));
  EXPECT_EQ(removed(), Numbers({1, 2}));
  builder.disk.put(segment(4, 2).to_string(), std::vector<std::byte>(10));
  EXPECT_EQ(removed(), Numbers({1, 2, 3}));
}

TEST(KeepLocal, ASlotHolds) {
  const auto result = may_go(six(), {.bytes = 1}, sent(1, 6), kSize.start(3) + 4711, kNow);
  EXPECT_EQ(numbers(result), Numbers({1, 2}));
  EXPECT_THAT(result.kept_for, HasSubstr("slot"));
}

// ---- LocalRemoval

/// The store and the archive have 1 to 4.
class LocalRemovalTest : public ::testing::Test {
 protected:
  using Store = test::MemoryStore;
  static constexpr auto kBytes = std::uint64_t{1} << 20;

  LocalRemovalTest() {
    wal_.grow_to(wal::Lsn(5 * kBytes + 200'000));
    builder_.segments(wal_, 1, 5);
    directory_ = builder_.disk.open();
    const auto listing = archive::list_archive_names(*directory_);
    const auto identity = *archive::read_identity(*directory_, listing);
    mark_.segment_size = verify::kSize;
    for (std::uint64_t segno = 1; segno < 5; ++segno) {
      mark_.add(name(segno));
      store_.place(layout_.key(name(segno)), verify::ArchiveBuilder::content(wal_, segno));
    }
    tools_.emplace(Uploader::Where{*directory_, store_, layout_}, Conditions::heeded, identity,
                   archive::Timelines::read(*directory_, listing));
  }
  static wal::SegmentName name(std::uint64_t segno) { return {1, segno, verify::kSize}; }
  LocalRemoval::Time look(const KeepLocal& keep = {.bytes = 1}) {
    removal_.emplace(
        *directory_, store_, layout_,
        LocalRemoval::Options{
            .keep = keep,
            .every = 1h,
            .keys = keys_,
            .sent_again = [this](const ManifestEntry& line) { lines_.push_back(line); },
            .require_place = require_place_,
            .stopping = [] { return false; },
            .durable_end = [this] { return durable_; }},
        machine_threads(), report_, log_);
    return removal_->look(*tools_, mark_);
  }
  [[nodiscard]] std::vector<std::uint64_t> here() const {
    std::vector<std::uint64_t> all;
    for (std::uint64_t segno = 1; segno < 5; ++segno)
      if (builder_.disk.exists(name(segno).to_string())) all.push_back(segno);
    return all;
  }

  testing::WalBuilder wal_{testing::WalBuilder::Options{}};
  verify::ArchiveBuilder builder_;
  Store store_;
  const Layout layout_{Layout::Form::barman, {"memory", "p"}, "main"};
  NullLog log_;
  Mark mark_;
  std::unique_ptr<io::Directory> directory_;
  std::optional<SendTools> tools_;
  FollowReport report_{"s3://memory", {}, false, machine_threads(), log_};
  std::vector<ManifestEntry> lines_;
  std::vector<SignifyPublic> keys_;
  std::function<void()> require_place_;
  std::optional<archive::DurableEnd> durable_;
  std::optional<LocalRemoval> removal_;
};

TEST_F(LocalRemovalTest, RemovesWhatTheStoreHasButTheNewest) {
  const auto next = look();
  EXPECT_EQ(here(), Numbers{4});
  EXPECT_EQ(report_.view().removed_files, 3u);
  EXPECT_TRUE(lines_.empty());
  EXPECT_GE(next, removal_->not_before());
  EXPECT_GT(next, machine_threads().now() + 30min);
}

/// A stand-in that ended in the segment may have left one, compressed. It would be the only WAL of
/// that position, and look like a gap.
TEST_F(LocalRemovalTest, RemovesWhatIsLeftOfAPartialSegmentWithTheCompleteOne) {
  const auto left = name(2).to_string() + ".lz4.partial";
  const auto current = name(5).to_string() + ".partial";
  for (const auto& each : {left, name(3).to_string() + ".partial", current})
    builder_.disk.put(each, std::vector<std::byte>(10));
  mark_.remove(name(2));
  look();
  EXPECT_EQ(here(), (Numbers{2, 3, 4}));
  EXPECT_TRUE(builder_.disk.exists(left));
  mark_.add(name(2));
  look();
  EXPECT_EQ(here(), Numbers{4});
  EXPECT_FALSE(builder_.disk.exists(left));
  EXPECT_FALSE(builder_.disk.exists(name(3).to_string() + ".partial"));
  EXPECT_TRUE(builder_.disk.exists(current));
}

/// An archive_command has copied segments into the archive that the receiver has not received yet.
/// Without its file, the receiver would end with status 4.
TEST_F(LocalRemovalTest, LeavesTheFileIntoWhichTheReceiverWrites) {
  const auto partial = [](std::uint64_t segno) { return name(segno).to_string() + ".partial"; };
  for (const std::uint64_t segno : {1, 2, 3})
    builder_.disk.put(partial(segno), std::vector<std::byte>(10));
  durable_ = archive::DurableEnd{1, verify::kSize.start(2) + 4711};
  look();
  EXPECT_EQ(here(), Numbers{4});
  EXPECT_FALSE(builder_.disk.exists(partial(1)));
  EXPECT_TRUE(builder_.disk.exists(partial(2)));
  EXPECT_TRUE(builder_.disk.exists(partial(3)));
}

TEST_F(LocalRemovalTest, StoresAgainWhatIsGoneAndKeepsItForNow) {
  store_.objects.erase(layout_.key(name(2)));
  look();
  EXPECT_EQ(here(), (Numbers{2, 3, 4})) << "the oldest first";
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_.front().name, name(2).to_string());
  EXPECT_EQ(report_.view().sent_again, 1u);
  look();
  EXPECT_EQ(here(), Numbers{4});
}

/// Sent again, it would be followed by a hole.
TEST_F(LocalRemovalTest, RemovesWhatAPruneHasRemovedFromTheStoreAndSendsItNotAgain) {
  for (const std::uint64_t segno : {1, 2}) store_.objects.erase(layout_.key(name(segno)));
  test::record_begin(store_, layout_, name(3));
  look();
  EXPECT_EQ(here(), Numbers{4});
  EXPECT_TRUE(lines_.empty());
  for (const std::uint64_t segno : {1, 2})
    EXPECT_FALSE(store_.objects.contains(layout_.key(name(segno)))) << segno;
}

/// That cluster's prune says nothing of this one's WAL.
TEST_F(LocalRemovalTest, KeepsEverythingWhileThePlaceIsAnotherClusters) {
  store_.objects.erase(layout_.key(name(1)));
  test::record_begin(store_, layout_, name(3));
  require_place_ = [] { throw Error(ErrorKind::conflict, "it is another cluster's"); };
  look();
  EXPECT_EQ(here(), (Numbers{1, 2, 3, 4}));
  EXPECT_THAT(report_.view().kept_for, HasSubstr("another cluster's"));
  EXPECT_FALSE(store_.objects.contains(layout_.key(name(1))));
}

TEST_F(LocalRemovalTest, BelievesOnlyAPruneThatTheKeyProves) {
  const auto key = std::make_shared<const SignifyKey>(SignifyKey::make());
  keys_ = proofs_of(key);
  store_.objects.erase(layout_.key(name(1)));
  test::record_begin(store_, layout_, name(3));
  look();
  EXPECT_EQ(here(), (Numbers{1, 2, 3, 4}));
  EXPECT_EQ(lines_.size(), 1u);
  store_.objects.erase(layout_.key(name(1)));
  test::record_begin(store_, layout_, name(3), key);
  look();
  EXPECT_EQ(here(), Numbers{4});
  EXPECT_EQ(lines_.size(), 1u);
}

TEST_F(LocalRemovalTest, WhatAPruneHasNotRecordedIsSentAgain) {
  test::record_begin(store_, layout_, name(2));
  for (const std::uint64_t segno : {1, 2}) store_.objects.erase(layout_.key(name(segno)));
  look();
  EXPECT_EQ(here(), (Numbers{2, 3, 4}));
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_.front().name, name(2).to_string());
}

TEST_F(LocalRemovalTest, KeepsWhatDiffersFromTheObjectAndSaysSo) {
  store_.place(layout_.key(name(2)), test::bytes_of("somebody else's"));
  look();
  EXPECT_EQ(here(), (Numbers{2, 3, 4}));
  EXPECT_EQ(report_.view().problem->reason, "conflict");
}

/// It was removed, and ours was stored above it.
TEST_F(LocalRemovalTest, KeepsWhatDiffersFromTheVersionThatReadersUse) {
  const auto key = layout_.key(name(2));
  store_.versions_kept = true;
  store_.older[key] = test::bytes_of("somebody else's");
  ++store_.puts[key];
  look();
  EXPECT_EQ(here(), (Numbers{2, 3, 4}));
  ASSERT_TRUE(report_.view().problem);
  EXPECT_EQ(report_.view().problem->reason, "conflict");
  EXPECT_THAT(report_.view().problem->text, HasSubstr("its oldest version, which readers use"));
  // The same WAL below it does no harm.
  store_.older[key] = store_.objects.at(key).bytes;
  look();
  EXPECT_EQ(here(), Numbers{4});
}

TEST_F(LocalRemovalTest, NeedsNoRightToListVersions) {
  store_.versions_kept = true;
  store_.fault = [](const Store::Call& call) {
    return call.what == "versions" ? Store::Fault::refused : Store::Fault::none;
  };
  look();
  EXPECT_EQ(here(), Numbers{4});
}

/// Nobody knows whether a recovery would get the same WAL.
TEST_F(LocalRemovalTest, KeepsWhatReadersGetInAVersionThatMustNotBeRead) {
  const auto key = layout_.key(name(2));
  store_.versions_kept = true;
  store_.versions_readable = false;
  ++store_.puts[key];
  look();
  EXPECT_EQ(here(), (Numbers{2, 3, 4}));
  EXPECT_THAT(report_.view().kept_for, HasSubstr("s3:GetObjectVersion"));
  EXPECT_FALSE(report_.view().problem);
}

TEST_F(LocalRemovalTest, KeepsWhatTheMarkOnDiskHasNot) {
  mark_.remove(name(2));
  look();
  EXPECT_EQ(here(), (Numbers{2, 3, 4}));
  EXPECT_THAT(report_.view().kept_for, HasSubstr("not in the store yet"));
}

TEST_F(LocalRemovalTest, AStoreThatDoesNotAnswerKeepsEverythingForAWhile) {
  store_.fault = [](const Store::Call&) { return Store::Fault::lost_request; };
  look();
  EXPECT_EQ(here(), (Numbers{1, 2, 3, 4}));
  EXPECT_THAT(report_.view().kept_for, HasSubstr("no answer"));
}

}  // namespace
}  // namespace weir::store::keep_local_test
