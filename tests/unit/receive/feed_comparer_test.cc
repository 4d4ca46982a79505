#include "receive/feed_comparer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

#include "base/error.h"
#include "support/wal_builder.h"
#include "wal/page.h"

namespace weir::receive::feed_comparer_test {
namespace {

using Checksums = FeedDifference::Checksums;
using testing::WalBuilder;
using Bytes = std::vector<std::byte>;

const auto kSize = *wal::SegmentSize::of(1 << 20);

class FeedComparerTest : public ::testing::Test {
 protected:
  explicit FeedComparerTest(std::uint64_t seed = 1) : builder_({.seed = seed}) {}

  void take(wal::Lsn from) {
    from_ = from;
    const auto wal = builder_.bytes(from, builder_.end());
    ours_.assign(wal.begin(), wal.end());
    theirs_ = ours_;
  }
  std::byte& theirs(wal::Lsn at) { return theirs_.at(at - from_); }
  std::byte& ours(wal::Lsn at) { return ours_.at(at - from_); }

  /// In pieces of up to that size.
  std::optional<FeedDifference> compare(std::size_t most = 100'000) {
    FeedComparer comparer(kSize, 1, from_);
    for (std::size_t at = 0; at < ours_.size();) {
      const auto count = std::min<std::size_t>(1 + random_() % most, ours_.size() - at);
      if (auto found = comparer.feed(std::span(ours_).subspan(at, count),
                                     std::span(theirs_).subspan(at, count)))
        return found;
      at += count;
    }
    compared_ = comparer.compared();
    return comparer.finish();
  }

  /// Gives the record that has this byte the checksum that its content wants.
  void mend_checksum(const WalBuilder::Record& record) {
    Bytes whole;
    for (std::uint64_t i = 0; i < record.length; ++i)
      whole.push_back(theirs(builder_.byte_of_record(record.start, i)));
    const auto crc = wal::record_crc(whole);
    constexpr std::uint64_t kCrcAt = 20;
    for (unsigned i = 0; i < 4; ++i)
      theirs(builder_.byte_of_record(record.start, kCrcAt + i)) = std::byte(crc >> (8 * i));
  }
  const WalBuilder::Record& ordinary(std::size_t from) {
    const auto& records = builder_.records();
    return *std::find_if(records.begin() + static_cast<std::ptrdiff_t>(from), records.end(),
                         [](const auto& record) {
                           return record.kind == WalBuilder::Kind::ordinary && record.length > 100;
                         });
  }

  WalBuilder builder_;
  wal::Lsn from_;
  Bytes ours_;
  Bytes theirs_;
  wal::Lsn compared_;
  std::mt19937_64 random_{7};
};

TEST_F(FeedComparerTest, FindsNothingInTheSameWalHoweverItComes) {
  builder_.grow_to(wal::Lsn(5 << 20));
  for (const auto from : {builder_.start(), wal::Lsn(2 << 20), wal::Lsn(3 << 20)}) {
    take(from);
    for (const std::size_t most : {std::size_t{7}, std::size_t{9000}, std::size_t{1 << 20}}) {
      EXPECT_FALSE(compare(most)) << from.to_string() << " " << most;
      EXPECT_EQ(compared_, builder_.complete_end(builder_.end()));
    }
  }
}

TEST_F(FeedComparerTest, TellsWhoseChecksumFails) {
  builder_.grow_to(wal::Lsn(3 << 20));
  take(builder_.start());
  const auto& record = ordinary(builder_.records().size() / 2);
  const auto at = builder_.byte_of_record(record.start, 60);
  const auto expect = [&](Checksums checksums) {
    const auto found = compare();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->checksums, checksums) << found->to_string();
    EXPECT_EQ(found->archive.start, record.start);
    EXPECT_EQ(found->other.start, record.start);
    EXPECT_LE(found->at, at);
    EXPECT_GE(found->at, record.start);
  };
  theirs(at) ^= std::byte{1};
  expect(Checksums::other_fails);
  EXPECT_EQ(compare()->at, at);
  EXPECT_EQ(compare()->archive.end, record.end);
  EXPECT_EQ(compare()->resource_manager, record.resource_manager);
  // Corrupted before the checksum was made: what no checksum can find.
  mend_checksum(record);
  expect(Checksums::both_pass);
  EXPECT_EQ(compare()->other, (FeedDifference::Record{record.start, record.end}));
  // The archive has rotted meanwhile.
  std::swap(ours_, theirs_);
  theirs_ = Bytes(builder_.bytes().begin(), builder_.bytes().end());
  ours_ = theirs_;
  ours(at) ^= std::byte{1};
  expect(Checksums::archive_fails);
  theirs(at) ^= std::byte{2};
  expect(Checksums::both_fail);
}

/// No later record of the other one is known.
TEST_F(FeedComparerTest, TellsAtOnceOfAMagicThatLooksLikeANewerVersions) {
  builder_.grow_to(wal::Lsn(3 << 20));
  take(wal::Lsn(2 << 20));
  theirs(from_ + 1) ^= std::byte{0x02};
  FeedComparer comparer(kSize, 1, from_);
  std::optional<FeedDifference> found;
  for (std::size_t at = 0; at < ours_.size() && !found; at += 8192)
    found = comparer.feed(std::span(ours_).subspan(at, 8192), std::span(theirs_).subspan(at, 8192));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at, from_ + 1);
  EXPECT_EQ(found->checksums, Checksums::not_checked);
}

TEST_F(FeedComparerTest, TakesRecordsOfAnotherLengthForADifference) {
  builder_.grow_to(wal::Lsn(3 << 20));
  const auto fork = builder_.fork_point(wal::Lsn(2'500'000));
  auto other = builder_.other_branch(fork, 99, false);
  other.grow_to(builder_.end() + 2 * kSize.bytes());
  take(builder_.start());
  const auto wal = other.bytes(from_, from_ + ours_.size());
  theirs_.assign(wal.begin(), wal.end());
  const auto found = compare();
  ASSERT_TRUE(found);
  EXPECT_GE(found->at, fork);
  EXPECT_EQ(found->checksums, Checksums::both_pass) << found->to_string();
}

TEST_F(FeedComparerTest, ComparesNothingBehindAnXlogSwitch) {
  builder_.append_random(5000);
  ASSERT_TRUE(builder_.append_switch());
  const auto record = builder_.records().back();
  builder_.append_random(3000);
  take(builder_.start());
  const auto last = builder_.byte_of_record(record.start, record.length - 1);
  const auto behind = last + 1;
  for (auto at = behind; at < wal::Lsn(2 << 20); at = at + 1) theirs(at) = std::byte(random_());
  EXPECT_FALSE(compare());
  EXPECT_EQ(compared_, builder_.end());
  // The switch itself, and what comes behind the segment, are.
  theirs(last) ^= std::byte{1};
  EXPECT_TRUE(compare());
  theirs(last) ^= std::byte{1};
  theirs(builder_.records().back().start + 40) ^= std::byte{1};
  EXPECT_TRUE(compare());
}

TEST_F(FeedComparerTest, ComparesTheRestOfARecordThatBeganBefore) {
  builder_.append_random(1'030'000);
  const auto record = builder_.append_random(50'000);
  builder_.append_random(2000);
  const wal::Lsn from(2 << 20);
  ASSERT_LT(record.start, from);
  ASSERT_GT(record.end, from);
  take(from);
  EXPECT_FALSE(compare());
  const auto at = builder_.byte_of_record(record.start, record.length - 5);
  theirs(at) ^= std::byte{1};
  const auto found = compare();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at, at);
  EXPECT_EQ(found->checksums, Checksums::not_checked);
  EXPECT_FALSE(found->archive.start.valid());
}

/// Which bytes mean something, by the builder's own knowledge: what lies in a record or in a page's
/// header, but for what is behind an xlog switch.
bool means_something(WalBuilder& builder, wal::Lsn at) {
  const WalBuilder::Record* before = nullptr;
  for (const auto& record : builder.records()) {
    if (record.start > at) break;
    before = &record;
  }
  const auto in_page = at.byte() % wal::kPageSize;
  const auto header =
      kSize.offset(at) < wal::kPageSize ? wal::kLongHeaderSize : wal::kShortHeaderSize;
  if (before == nullptr) return in_page < header;
  const auto last = builder.byte_of_record(before->start, before->length - 1);
  if (before->kind == WalBuilder::Kind::xlog_switch && at > last &&
      kSize.segno(at) == kSize.segno(last))
    return false;
  return in_page < header || before->kind == WalBuilder::Kind::aborted || at <= last;
}

TEST(FeedDifference, SaysWhoseRecordIsSound) {
  FeedDifference difference;
  const auto said = [&](Checksums checksums) {
    difference.checksums = checksums;
    return difference.to_string();
  };
  for (const auto& [checksums, words] :
       {std::pair(Checksums::both_pass, "; both pass their checksums"),
        std::pair(Checksums::archive_fails, "; the archive's fails its checksum"),
        std::pair(Checksums::other_fails, "; the second upstream's fails its checksum"),
        std::pair(Checksums::both_fail, "; both fail their checksums"),
        std::pair(Checksums::not_checked, "; the checksums could not be compared")}) {
    const auto text = said(checksums);
    EXPECT_TRUE(text.ends_with(words)) << text;
    EXPECT_NE(text.find("record in the archive not known, there not known"), std::string::npos)
        << text;
  }
}

TEST(FeedComparerRandom, FindsEveryByteThatMeansSomethingAndNoOther) {
  const auto seed = testing::test_seed(20261121);
  std::mt19937_64 random(seed);
  WalBuilder builder({.seed = seed, .switch_every = 60, .abort_every = 50, .large_every = 30});
  builder.grow_to(wal::Lsn(6 << 20));
  const auto from = builder.start();
  const auto end = builder.complete_end(builder.end());
  const auto wal = builder.bytes(from, end);
  const Bytes ours(wal.begin(), wal.end());
  int meaningful = 0;
  for (int i = 0; i < 400; ++i) {
    // Half of them near a record's end, where the padding is.
    const auto& record = builder.records()[random() % builder.records().size()];
    auto at = from + random() % ours.size();
    if (i % 2 == 0 && record.end.valid() && record.end > from + 8 && record.end < end)
      at = wal::Lsn(record.end.byte() - 1 - random() % 8);
    auto theirs = ours;
    theirs[at - from] ^= std::byte(1U << random() % 8);
    FeedComparer comparer(kSize, 1, from);
    std::optional<FeedDifference> found;
    for (std::size_t done = 0; done < ours.size() && !found;) {
      const auto count = std::min<std::size_t>(1 + random() % 300'000, ours.size() - done);
      found = comparer.feed(std::span(ours).subspan(done, count),
                            std::span(theirs).subspan(done, count));
      done += count;
    }
    if (!found) found = comparer.finish();
    const bool expected = means_something(builder, at);
    meaningful += expected ? 1 : 0;
    ASSERT_EQ(found.has_value(), expected) << at.to_string() << " (case " << i << ")";
    if (found) {
      EXPECT_EQ(found->at, at);
    }
  }
  EXPECT_GT(meaningful, 100);
  EXPECT_LT(meaningful, 390);
}

}  // namespace
}  // namespace weir::receive::feed_comparer_test
