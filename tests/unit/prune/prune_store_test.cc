// Pruning an object store: page by page, and each refused object told.

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "archive/home.h"
#include "base/error.h"
#include "prune/prune.h"
#include "store/ledger/mark.h"
#include "store/shelf/near_shelf.h"
#include "support/archive_builder.h"
#include "support/error_of.h"
#include "support/memory_store.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::prune::prune_store_test {
namespace {

using store::Layout;
using test::MemoryStore;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;

constexpr std::uint64_t kSegments = 2600;

class PruneStore : public ::testing::Test {
 protected:
  void SetUp() override {
    // Whose WAL it is is read from the newest one; the others are names.
    for (std::uint64_t segno = 1; segno < kSegments; ++segno) store_.objects[key(segno)] = {};
    WalBuilder newest({.start = wal::Lsn(kSegments * kSize.bytes()), .switch_every = 0});
    newest.grow_to(wal::Lsn((kSegments + 1) * kSize.bytes()));
    store_.place(key(kSegments), ArchiveBuilder::content(newest, kSegments));
    store_.place(layout_.history_key(2), test::as_bytes("1\t0/100000\tno reason\n"));
    store_.place(layout_.own_key("pgweir.json"), test::as_bytes("{}"));
  }
  std::string key(std::uint64_t segno) { return layout_.key(wal::SegmentName(1, segno, kSize)); }
  Plan plan(std::uint64_t keep_from) {
    shelf_.emplace([this]() -> store::ObjectStore& { return store_; }, "s3://memory/p", layout_,
                   store::Patience{.retry_for = std::chrono::milliseconds(0)}, 1);
    Options options;
    options.keep_from = wal::SegmentName(1, keep_from, kSize);
    return make_plan(*shelf_, options);
  }
  const KeysOf keys_of_ = [this](const std::string& file) { return shelf_->keys_of(file); };

  Layout layout_{Layout::Form::barman, {"memory", "p"}, "main"};
  MemoryStore store_;
  std::optional<store::NearShelf> shelf_;
};

TEST_F(PruneStore, GetsThroughAllPages) {
  const auto what = plan(2500);
  EXPECT_EQ(what.files, 2499u);
  store_.calls.clear();
  std::size_t removed = 0;
  EXPECT_TRUE(carry_out(
      store_, keys_of_, what, nullptr, [&](const std::string&) { ++removed; }, nullptr));
  EXPECT_EQ(removed, 2499u);
  EXPECT_EQ(store_.calls.size(), 3u) << "a thousand a request";
  EXPECT_EQ(store_.objects.size(), kSegments - 2499 + 2);
  EXPECT_TRUE(store_.objects.contains(key(2500)));
  EXPECT_TRUE(store_.objects.contains(layout_.history_key(2)));
  EXPECT_EQ(plan(2500).files, 0u);
}

TEST_F(PruneStore, LooksThroughAHundredThousandByAHundredRequests) {
  store_.objects.clear();
  constexpr std::uint64_t kMany = 100'000;
  for (std::uint64_t segno = 1; segno < kMany; ++segno) store_.objects[key(segno)] = {};
  WalBuilder newest({.start = wal::Lsn(kMany * kSize.bytes()), .switch_every = 0});
  newest.grow_to(wal::Lsn((kMany + 1) * kSize.bytes()));
  store_.place(key(kMany), ArchiveBuilder::content(newest, kMany));
  EXPECT_EQ(plan(kMany - 10).files, kMany - 11);
  EXPECT_LE(store_.count("list"), kMany / 1000 + 3);
}

TEST_F(PruneStore, RemovesWhatIsEncrypted) {
  for (const std::uint64_t segno : {1, 2, 3}) {
    store_.objects[key(segno) + ".age"] = store_.objects[key(segno)];
    if (segno != 2) store_.objects.erase(key(segno));  // of one there are both
  }
  EXPECT_TRUE(carry_out(store_, keys_of_, plan(4), nullptr, nullptr, nullptr));
  EXPECT_TRUE(store_.objects.lower_bound(key(1))->first == key(4));
}

TEST_F(PruneStore, NamesWhatTheStoreKeepsAndRemovesTheRest) {
  store_.locked = {key(7), key(1500)};
  std::vector<std::string> kept;
  std::vector<std::string> removed;
  EXPECT_TRUE(carry_out(
      store_, keys_of_, plan(2000), nullptr,
      [&](const std::string& file) { removed.push_back(file); },
      [&](const store::Kept& each) { kept.push_back(each.key); }));
  EXPECT_EQ(kept, (std::vector<std::string>{key(7), key(1500)}));
  EXPECT_EQ(removed.size(), 1997u);
  EXPECT_TRUE(store_.objects.contains(key(7)));
  EXPECT_FALSE(store_.objects.contains(key(8)));
}

/// Of a thousand, the others are not held up.
TEST_F(PruneStore, NamesWhatKeepsFailingAndRemovesTheRest) {
  store_.failing = {key(7), key(1500)};
  store_.locked = {key(8)};
  std::vector<std::string> asked;  // the first key of each request
  store_.fault = [&](const MemoryStore::Call& call) {
    if (call.what == "remove") asked.push_back(call.key);
    return MemoryStore::Fault::none;
  };
  std::vector<std::string> kept;
  std::size_t removed = 0;
  const store::Patience patience{.retry_for = std::chrono::milliseconds(300), .seed = 7};
  EXPECT_TRUE(carry_out(
      store_, keys_of_, plan(2000), nullptr, [&](const std::string&) { ++removed; },
      [&](const store::Kept& each) { kept.push_back(each.key); }, patience));
  EXPECT_EQ(kept, (std::vector<std::string>{key(7), key(8), key(1500)}));
  EXPECT_EQ(removed, 1996u);
  EXPECT_FALSE(store_.objects.contains(key(1999)));
  EXPECT_GT(asked.size(), 3u);
  EXPECT_EQ(asked.at(1), key(7)) << "only what is left is asked for again";
  // If nothing can be removed, the store has failed.
  for (std::uint64_t segno = 2000; segno < 2010; ++segno) store_.failing.insert(key(segno));
  EXPECT_EQ(test::error_of([&] {
              static_cast<void>(carry_out(store_, keys_of_, plan(2010), nullptr, nullptr, nullptr));
            }).kind(),
            ErrorKind::retry);
}

TEST_F(PruneStore, TriesAgainWhatMayPass) {
  int failures = 3;
  store_.fault = [&](const MemoryStore::Call& call) {
    return call.what == "remove" && failures-- > 0 ? MemoryStore::Fault::throttled
                                                   : MemoryStore::Fault::none;
  };
  EXPECT_TRUE(carry_out(store_, keys_of_, plan(4), nullptr, nullptr, nullptr,
                        {.retry_for = std::chrono::seconds(20), .seed = 7}));
  EXPECT_FALSE(store_.objects.contains(key(3)));
}

TEST_F(PruneStore, LeavesNoGapWhereverItEnds) {
  const auto what = plan(2500);
  EXPECT_FALSE(carry_out(
      store_, keys_of_, what, [] { return true; }, nullptr, nullptr));
  EXPECT_FALSE(store_.objects.contains(key(1000)));
  EXPECT_TRUE(store_.objects.contains(key(1001)));
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "remove" ? MemoryStore::Fault::throttled : MemoryStore::Fault::none;
  };
  EXPECT_EQ(test::error_of([&] {
              static_cast<void>(carry_out(store_, keys_of_, plan(2500), nullptr, nullptr, nullptr));
            }).kind(),
            ErrorKind::retry);
  EXPECT_TRUE(store_.objects.contains(key(1001)));
}

/// Until then, an older backup may be the only one that can be recovered.
TEST_F(PruneStore, NeedsTheWalOfABackupUpToItsEnd) {
  static_cast<void>(plan(1));  // opens the shelf
  const auto plan_of = [&](wal::Lsn end, bool alone) {
    archive::BackupPoint backup;
    backup.timeline = backup.end_timeline = 1;
    backup.start = kSize.start(2500);
    backup.end = end;
    backup.file = "backup_manifest";
    Options options;
    options.backups.push_back(backup);
    return make_plan({*shelf_, *shelf_, *shelf_, {}, nullptr, alone}, options);
  };
  const auto there = kSize.start(kSegments + 1);
  EXPECT_EQ(plan_of(there, true).files, 2499u);
  EXPECT_EQ(plan_of(there + 100, false).files, 2499u);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(plan_of(there + 100, true)); }).kind(),
            ErrorKind::retry);
}

/// A wrong --store-name: the numbers of segments say nothing of their cluster.
TEST_F(PruneStore, RemovesNothingOfAnotherClusterThanThatOfTheDirectory) {
  plan(2500);
  const auto beside = [&](std::uint64_t system_identifier) {
    WalBuilder wal({.system_identifier = system_identifier});
    wal.grow_to(kSize.start(3));
    ArchiveBuilder archive;
    archive.segments(wal, 1, 3);
    const auto directory = archive.disk.open();
    Options options;
    options.keep_from = wal::SegmentName(1, 2500, kSize);
    return make_plan({*shelf_, *shelf_, *directory, {}, directory.get()}, options);
  };
  EXPECT_EQ(beside(WalBuilder::Options{}.system_identifier).files, 2499u);
  const auto error = test::error_of([&] { static_cast<void>(beside(4711)); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_NE(std::string(error.what()).find("4711"), std::string::npos);
}

/// A file system that is not mounted, or a mistyped path: nothing of the directory protects the
/// store.
TEST_F(PruneStore, RemovesNothingBesideADirectoryThatDoesNotShowItsCluster) {
  plan(2500);
  sim::SimDisk disk;
  const auto directory = disk.open();
  const auto beside = [&] {
    Options options;
    options.keep_from = wal::SegmentName(1, 2500, kSize);
    return make_plan({*shelf_, *shelf_, *directory, {}, directory.get()}, options);
  };
  const auto error = test::error_of([&] { static_cast<void>(beside()); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_NE(error.hint().find("mounted"), std::string::npos);
  // All of it was removed there, but it knows what it has uploaded.
  archive::DirectoryHome home(*directory);
  store::Mark mark{"s3://memory/p", WalBuilder::Options{}.system_identifier, kSize};
  store::keep_mark(home, mark);
  EXPECT_EQ(beside().files, 2499u);
  mark.system_identifier = 4711;
  store::keep_mark(home, mark);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(beside()); }).kind(), ErrorKind::conflict);
}

TEST_F(PruneStore, KeepsTheNewest) {
  EXPECT_EQ(test::error_of([&] { static_cast<void>(plan(kSegments + 1)); }).kind(),
            ErrorKind::conflict);
}

}  // namespace
}  // namespace weir::prune::prune_store_test
