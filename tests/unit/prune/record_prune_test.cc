#include "prune/record_prune.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "crypto/digest.h"
#include "store/cluster_record.h"
#include "store/ledger/manifest_line.h"
#include "store/ledger/manifest_prune.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_report.h"
#include "store/ledger/manifest_writer.h"
#include "support/memory_store.h"

namespace weir::prune::record_prune_test {
namespace {

using test::MemoryStore;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

class RecordPrune : public ::testing::Test {
 protected:
  /// Segments 1 to 9, each with a line.
  void write(const std::shared_ptr<const store::SignifyKey>& key = nullptr) {
    static_cast<void>(store::write_cluster(
        store_, layout_, store::Conditions::ignored,
        {.system_identifier = 4711, .segment_size = kSize, .layout = layout_.form()}));
    store::ManifestWriter writer(store_, layout_, key, log_);
    writer.start({}, "0123456789abcdef");
    for (std::uint64_t segno = 1; segno < 10; ++segno) {
      const auto bytes = test::bytes_of("segment " + std::to_string(segno));
      store_.place(layout_.key(name(segno)), bytes);
      writer.append({.name = name(segno).to_string(),
                     .size = bytes.size(),
                     .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, bytes),
                     .first = wal::Lsn(segno * kSize.bytes() + 40),
                     .last = wal::Lsn((segno + 1) * kSize.bytes() - 8),
                     .system_identifier = 4711});
    }
    writer.put();
  }
  static wal::SegmentName name(std::uint64_t segno) { return {1, segno, kSize}; }
  /// Keeps everything from this segment on.
  static Plan plan_of(std::uint64_t keep_from, std::uint64_t first = 1) {
    Plan plan;
    plan.keep_from = name(keep_from).to_string();
    for (auto segno = first; segno < keep_from; ++segno) {
      plan.numbers.push_back({{.name = name(segno), .files = {name(segno).to_string()}}});
      ++plan.files;
    }
    return plan;
  }
  std::optional<PruneRecord> record(const Plan& plan,
                                    const std::shared_ptr<const store::SignifyKey>& key = nullptr,
                                    bool dry_run = false) {
    return record_prune(store_, layout_, plan, key, {}, {}, log_, dry_run);
  }
  std::size_t told_before(std::uint64_t segno) {
    return store::told_before(store::read_manifests(store_, layout_, {}, {}), name(segno), false)
        .size();
  }

  /// Somebody without the key records a prune.
  void forge_begin(std::uint64_t segno) {
    store::ManifestWriter forger(store_, layout_, nullptr, log_);
    forger.start_with_store(std::string(store::kPruneChain));
    forger.append({.kind = store::ManifestEntry::Kind::begin,
                   .name = name(segno).to_string(),
                   .system_identifier = 4711,
                   .chain = "0123456789abcdef",
                   .after = store::genesis_of("0123456789abcdef")});
    forger.put();
  }

  store::Layout layout_{store::Layout::Form::barman, {"memory", "p"}, "main"};
  MemoryStore store_;
  NullLog log_;
};

TEST_F(RecordPrune, SaysWhereTheArchiveBeginsBeforeAnythingIsRemoved) {
  write();
  const auto record = this->record(plan_of(4));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->begin, name(4));
  EXPECT_EQ(record->by_others, 0u);
  EXPECT_EQ(told_before(4), 0u);
  EXPECT_EQ(told_before(6), 2u);
  for (std::uint64_t segno = 1; segno < 10; ++segno)
    EXPECT_TRUE(store_.objects.contains(layout_.key(name(segno))));
}

/// Segments before it on a newer timeline may be stored afterwards.
TEST_F(RecordPrune, SaysWhichTimelineWasTheNewest) {
  write();
  auto plan = plan_of(4);
  plan.numbers[1].push_back({.name = {3, 2, kSize}, .files = {"000000030000000000000002"}});
  EXPECT_EQ(record(plan)->begin, wal::SegmentName(3, 4, kSize));
  EXPECT_TRUE(record(plan_of(6, 4)));
  const auto begins = store::read_begins(store_, layout_, {}, {});
  EXPECT_EQ(begins, std::vector{wal::SegmentName(3, 6, kSize)});
  EXPECT_TRUE(store::is_pruned({2, 5, kSize}, begins));
  EXPECT_FALSE(store::is_pruned({1, 6, kSize}, begins));
  EXPECT_FALSE(store::is_pruned({4, 5, kSize}, begins));
  EXPECT_FALSE(store::is_pruned({1, 1, kSize}, {}));
}

/// The store has kept what the first prune recorded (a lock): a recovery from it has begun timeline
/// 2 before that, and a base backup on timeline 2 was taken since.
TEST_F(RecordPrune, DoesNotMoveAnEarlierStartToATimelineThatBeganLater) {
  write();
  EXPECT_EQ(record(plan_of(6))->begin, name(6));
  auto plan = plan_of(4);
  plan.numbers.back().push_back({.name = {2, 3, kSize}, .files = {"000000020000000000000003"}});
  EXPECT_EQ(record(plan)->begin, wal::SegmentName(2, 4, kSize));
  const auto begins = store::read_begins(store_, layout_, {}, {});
  EXPECT_TRUE(store::is_pruned(name(5), begins));
  EXPECT_TRUE(store::is_pruned({2, 3, kSize}, begins));
  EXPECT_FALSE(store::is_pruned({2, 4, kSize}, begins)) << "the backup needs it";
  EXPECT_FALSE(store::is_pruned({2, 5, kSize}, begins));
}

/// What another program has removed of it is missing otherwise.
TEST_F(RecordPrune, SaysWhichTimelineWasTheNewestThatAnotherProgramRemoved) {
  write();
  for (const bool some_left : {false, true}) {
    SCOPED_TRACE(some_left);
    const std::uint64_t segno = some_left ? std::uint64_t{5} : std::uint64_t{3};
    store::ManifestWriter writer(store_, layout_, nullptr, log_);
    writer.start({}, some_left ? "aaaaaaaaaaaaaaaa" : "bbbbbbbbbbbbbbbb");
    const auto bytes = test::bytes_of("gone");
    writer.append({.name = wal::SegmentName(2, segno, kSize).to_string(),
                   .size = bytes.size(),
                   .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, bytes),
                   .first = wal::Lsn(segno * kSize.bytes() + 40),
                   .last = wal::Lsn((segno + 1) * kSize.bytes() - 8),
                   .system_identifier = 4711});
    writer.put();
    const auto record = this->record(some_left ? plan_of(6, 4) : plan_of(4, 4));
    ASSERT_TRUE(record);
    EXPECT_EQ(record->begin, wal::SegmentName(2, segno + 1, kSize));
  }
}

/// Timeline 2 began before the new start, and its first segment was stored, after the plan was
/// made.
TEST_F(RecordPrune, LeavesOutATimelineThatHasJustBegun) {
  write();
  store_.place(layout_.key({2, 3, kSize}), test::bytes_of("new"));
  store::ManifestWriter writer(store_, layout_, nullptr, log_);
  writer.start({}, "aaaaaaaaaaaaaaaa");
  writer.append(
      {.name = wal::SegmentName(2, 3, kSize).to_string(), .size = 3, .system_identifier = 4711});
  writer.put();
  EXPECT_EQ(record(plan_of(6))->begin, name(6));
  EXPECT_FALSE(store::is_pruned({2, 3, kSize}, store::read_begins(store_, layout_, {}, {})));
  EXPECT_FALSE(record(plan_of(6, 6))) << "nothing was removed by another program";
}

TEST_F(RecordPrune, TellsOfWhatAnotherProgramRemoved) {
  write();
  for (const std::uint64_t segno : {1, 2, 3}) store_.objects.erase(layout_.key(name(segno)));
  const auto record = this->record(plan_of(4, 4));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->begin, name(4));
  EXPECT_EQ(record->by_others, 3u);
  EXPECT_FALSE(this->record(plan_of(4, 4))) << "it is recorded now";
}

/// A verification with the key would report them as missing.
TEST_F(RecordPrune, TellsOfWhatAnotherProgramRemovedWhateverSomebodyElseHasRecorded) {
  const auto key = std::make_shared<const store::SignifyKey>(store::SignifyKey::make());
  write(key);
  for (const std::uint64_t segno : {1, 2, 3}) store_.objects.erase(layout_.key(name(segno)));
  forge_begin(9);
  const auto record = this->record(plan_of(4, 4), key);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->begin, name(4));
  EXPECT_EQ(record->by_others, 3u);
  EXPECT_FALSE(this->record(plan_of(4, 4), key)) << "it is recorded now";
}

TEST_F(RecordPrune, IsSilentWithoutAManifest) {
  EXPECT_FALSE(record(plan_of(4)));
  EXPECT_TRUE(store_.objects.empty());
}

/// Otherwise the archiver would take what is removed without a record for lost.
TEST_F(RecordPrune, RefusesAPlaceWithoutTheRecordOfItsCluster) {
  write();
  store_.objects.erase(store::key_of_cluster(layout_));
  const auto before = store_.objects.size();
  try {
    static_cast<void>(record(plan_of(4)));
    ADD_FAILURE() << "nothing is recorded";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::refused);
  }
  EXPECT_EQ(store_.objects.size(), before);
}

TEST_F(RecordPrune, NeedsTheKeyOfASignedManifest) {
  const auto key = std::make_shared<const store::SignifyKey>(store::SignifyKey::make());
  write(key);
  const auto before = store_.objects.size();
  for (const bool dry_run : {true, false}) {
    try {
      static_cast<void>(record(plan_of(4), nullptr, dry_run));
      ADD_FAILURE() << "recorded without a key";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
  }
  EXPECT_EQ(record(plan_of(4), key, true)->begin, name(4));
  EXPECT_EQ(store_.objects.size(), before);
  EXPECT_TRUE(record(plan_of(4), key));
}

TEST_F(RecordPrune, SignsNothingThatSomebodyElseHasRecorded) {
  const auto key = std::make_shared<const store::SignifyKey>(store::SignifyKey::make());
  write(key);
  forge_begin(9);
  ASSERT_TRUE(record(plan_of(4), key));
  const auto chains = store::read_manifests(store_, layout_, std::array{key->public_key()}, {});
  EXPECT_EQ(store::recorded_begin(chains, true), name(4));
}

}  // namespace
}  // namespace weir::prune::record_prune_test
