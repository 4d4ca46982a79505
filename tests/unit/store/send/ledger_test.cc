#include "store/send/ledger.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

#include "support/archive_builder.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/memory_store.h"
#include "support/sim_disk.h"

namespace weir::store::ledger_test {
namespace {

using test::MemoryStore;
using Fault = MemoryStore::Fault;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");
const wal::SegmentSize kSize;
const archive::Identity kCluster{7, kSize, "x"};

std::vector<ManifestEntry> line_of(std::uint64_t segno) {
  return {{.name = wal::SegmentName(1, segno, kSize).to_string()}};
}

class LedgerTest : public ::testing::Test {
 protected:
  Ledger ledger() {
    return {*directory_, store_, kLayout, {.store_name = "here", .seed = 7}, log_};
  }
  static void open(Ledger& ledger) {
    while (!ledger.is_open()) ledger.open_further();
  }
  sim::SimDisk disk_;
  std::unique_ptr<io::Directory> directory_ = disk_.open();
  MemoryStore store_;
  NullLog log_;
};

TEST_F(LedgerTest, KeepsTheMarkAfterTheLines) {
  auto ledger = this->ledger();
  auto mark = ledger.start(kCluster);
  EXPECT_TRUE(mark.sent.empty());
  open(ledger);
  ledger.add(line_of(1));
  EXPECT_TRUE(ledger.due());
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "put" ? Fault::refused : Fault::none;
  };
  EXPECT_THROW(ledger.put(), StoreError);
  EXPECT_TRUE(ledger.due()) << "it can be repeated";
  EXPECT_EQ(read_mark(*directory_), mark) << "empty";
  store_.fault = nullptr;
  ledger.put();
  EXPECT_FALSE(ledger.due());
  mark.add(wal::SegmentName(1, 1, kSize));
  ledger.keep(mark);
  EXPECT_EQ(ledger.written(), mark);
  EXPECT_EQ(read_mark(*directory_), mark);
  EXPECT_EQ(read_manifest_memory(*directory_)->lines, 1u);

  // The next process continues there.
  auto next = this->ledger();
  EXPECT_EQ(next.start(kCluster), mark);
  open(next);
  EXPECT_EQ(next.manifest().id(), ledger.manifest().id());
  EXPECT_EQ(next.manifest().lines(), 1u);
}

/// For a prune that runs while the store does not answer.
TEST_F(LedgerTest, MarksTheArchiveBeforeTheStoreHasAnything) {
  {
    auto ledger = this->ledger();
    const auto mark = ledger.start(kCluster);
    EXPECT_TRUE(mark.empty());
    EXPECT_EQ(read_mark(*directory_), mark);
  }
  for (const auto& content : {std::string("damaged"), std::string()}) {
    SCOPED_TRACE(content);
    disk_.put(std::string(kMarkName), test::bytes_of(content));
    auto ledger = this->ledger();
    const auto mark = ledger.start(kCluster);
    EXPECT_EQ(read_mark(*directory_), mark);
  }
  archive::DirectoryHome home(*directory_);
  keep_mark(home, {"here", 8, kSize, {}, {}});
  auto ledger = this->ledger();
  const auto mark = ledger.start(kCluster);
  EXPECT_EQ(read_mark(*directory_), mark) << "another cluster's says nothing";
  EXPECT_TRUE(store_.calls.empty());
}

/// It tells which WAL another store has, until this one has something. A prune goes by this one.
TEST_F(LedgerTest, LeavesTheMarkOfAnotherStoreUntilSomethingIsUploaded) {
  Mark other{"elsewhere", 7, kSize, {}, {}};
  other.add(wal::SegmentName(1, 1, kSize));
  archive::DirectoryHome home(*directory_);
  keep_mark(home, other);
  auto ledger = this->ledger();
  auto mark = ledger.start(kCluster);
  EXPECT_TRUE(mark.empty());
  auto former = other;
  former.next_store = "here";
  EXPECT_EQ(read_mark(*directory_), former);
  const wal::SegmentName segment(1, 1, kSize);
  archive::Listing listing;
  listing.segments.push_back({{segment, codec::Method::none, false}, std::nullopt});
  EXPECT_EQ(first_not_sent(other, kCluster, listing), std::nullopt);
  EXPECT_EQ(first_not_sent(former, kCluster, listing), segment);
  open(ledger);
  ledger.add(line_of(2));
  ledger.put();
  mark.add(wal::SegmentName(1, 2, kSize));
  ledger.keep(mark);
  EXPECT_EQ(read_mark(*directory_), mark);
}

/// As after a push to a mistyped place.
TEST_F(LedgerTest, ReturnsToAFormerStore) {
  Mark mark;
  {
    auto ledger = this->ledger();
    mark = ledger.start(kCluster);
    open(ledger);
    ledger.add(line_of(1));
    ledger.put();
    mark.add(wal::SegmentName(1, 1, kSize));
    ledger.keep(mark);
  }
  {
    Ledger other(*directory_, store_, kLayout, {.store_name = "mistyped", .seed = 7}, log_);
    EXPECT_TRUE(other.start(kCluster).empty());
  }
  EXPECT_EQ(read_mark(*directory_)->target(), "mistyped");
  auto ledger = this->ledger();
  EXPECT_EQ(ledger.start(kCluster), mark);
  EXPECT_EQ(read_mark(*directory_), mark);
  EXPECT_EQ(read_manifest_memory(*directory_)->lines, 1u);
}

/// A push to a mistyped place has left it.
TEST_F(LedgerTest, ReplacesTheEmptyMarkOfAnotherStore) {
  archive::DirectoryHome home(*directory_);
  keep_mark(home, {"mistyped", 7, kSize, {}, {}});
  auto ledger = this->ledger();
  const auto mark = ledger.start(kCluster);
  EXPECT_EQ(mark.store, "here");
  EXPECT_EQ(read_mark(*directory_), mark);
}

/// The record of the cluster is written again: only the mark tells it then.
TEST_F(LedgerTest, RemembersThatThePlaceWasEmptied) {
  {
    auto ledger = this->ledger();
    auto mark = ledger.start(kCluster);
    open(ledger);
    EXPECT_FALSE(ledger.was_emptied());
    ledger.add(line_of(1));
    ledger.put();
    mark.add(wal::SegmentName(1, 1, kSize));
    ledger.keep(mark);
  }
  store_.objects.clear();
  for (int i = 0; i < 2; ++i) {
    SCOPED_TRACE(i);
    auto ledger = this->ledger();
    static_cast<void>(ledger.start(kCluster));
    open(ledger);
    EXPECT_TRUE(ledger.was_emptied());
    EXPECT_TRUE(store_.objects.contains(kLayout.own_key("pgweir.json")));
  }
  auto ledger = this->ledger();
  const auto mark = ledger.start(kCluster);
  EXPECT_TRUE(read_mark(*directory_)->emptied);
  EXPECT_TRUE(read_manifest_memory(*directory_));
  ledger.place_is_whole(mark);
  EXPECT_FALSE(ledger.was_emptied());
  EXPECT_EQ(read_mark(*directory_), mark);
}

TEST_F(LedgerTest, StartsOnAFullDisk) {
  disk_.set_hook([](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::create ? sim::SimDisk::Effect::fail(ENOSPC)
                                                             : sim::SimDisk::Effect::proceed();
  });
  auto ledger = this->ledger();
  EXPECT_TRUE(ledger.start(kCluster).empty());
  EXPECT_EQ(read_mark(*directory_), std::nullopt);
  disk_.set_hook({});
  auto next = this->ledger();
  const auto mark = next.start(kCluster);
  EXPECT_EQ(read_mark(*directory_), mark);
}

TEST_F(LedgerTest, OpensFromWhereItHasFailed) {
  auto ledger = this->ledger();
  static_cast<void>(ledger.start(kCluster));
  // The first attempt fails at its first request, the next one at its second, and so on.
  std::uint64_t failures = 0;
  while (!ledger.is_open()) {
    ASSERT_LT(failures, 20u);
    const auto failing = store_.calls.size() + ++failures;
    store_.fault = [&](const MemoryStore::Call& call) {
      return call.number == failing ? Fault::lost_request : Fault::none;
    };
    try {
      open(ledger);
    } catch (const StoreError&) {
      EXPECT_FALSE(ledger.is_open());
    }
  }
  EXPECT_GT(failures, 2u);
  EXPECT_TRUE(store_.objects.contains(kLayout.own_key("pgweir.json")));
}

/// So that each step is retried for its whole time.
TEST_F(LedgerTest, OpensOneStepAtATime) {
  auto ledger = this->ledger();
  static_cast<void>(ledger.start(kCluster));
  for (int step = 0; step < 3; ++step) {
    EXPECT_FALSE(ledger.is_open()) << step;
    ledger.open_further();
  }
  EXPECT_TRUE(ledger.is_open());
}

TEST_F(LedgerTest, DoesNotOpenThePlaceOfAnotherCluster) {
  {
    auto other = this->ledger();
    static_cast<void>(other.start({8, kSize, "x"}));
    open(other);
  }
  auto ledger = this->ledger();
  static_cast<void>(ledger.start(kCluster));
  EXPECT_THROW(open(ledger), Error);
  EXPECT_FALSE(ledger.is_open());
}

/// A receiver tries again while it runs.
TEST_F(LedgerTest, OpensAPlaceFromWhichTheWalOfAnotherClusterWasRemoved) {
  testing::WalBuilder wal{testing::WalBuilder::Options{}};
  wal.grow_to(wal::Lsn(2 * verify::kSize.bytes()));
  const auto key = kLayout.key(wal::SegmentName(1, 1, verify::kSize));
  store_.place(key, verify::ArchiveBuilder::content(wal, 1));
  auto ledger = this->ledger();
  static_cast<void>(ledger.start(kCluster));
  std::size_t lists = 0;
  for (int i = 0; i < 2; ++i) {
    const auto before = store_.count("list");
    EXPECT_EQ(test::error_of([&] { open(ledger); }).kind(), ErrorKind::conflict);
    EXPECT_FALSE(ledger.is_open());
    lists = store_.count("list") - before;
  }
  EXPECT_EQ(lists, 0u) << "a place may have a million objects";
  store_.objects.erase(key);
  open(ledger);
  EXPECT_TRUE(store_.objects.contains(kLayout.own_key("pgweir.json")));
}

}  // namespace
}  // namespace weir::store::ledger_test
