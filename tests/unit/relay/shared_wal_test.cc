#include "relay/shared_wal.h"

#include <gtest/gtest.h>

#include <atomic>
#include <list>
#include <random>
#include <thread>

#include "support/archive_builder.h"

namespace weir::relay::shared_wal_test {
namespace {

using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

Lsn segment(std::uint64_t segno) { return kSize.start(segno); }

/// Counts how often a file is opened.
class CountingShelf final : public io::Shelf {
 public:
  explicit CountingShelf(io::Shelf& shelf) : shelf_(shelf) {}
  const std::string& path() const override { return shelf_.path(); }
  std::vector<io::DirectoryEntry> list() override { return shelf_.list(); }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    return shelf_.find(name);
  }
  std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override {
    auto bytes = shelf_.open_bytes(name);
    if (bytes) ++opened;
    return bytes;
  }
  std::atomic<unsigned> opened = 0;

 private:
  io::Shelf& shelf_;
};

/// As if a file were pruned just when it is opened for the so-many-th time.
class PrunedShelf final : public io::Shelf {
 public:
  PrunedShelf(io::Directory& directory, std::string name, unsigned at)
      : directory_(directory), name_(std::move(name)), at_(at) {}
  const std::string& path() const override { return directory_.path(); }
  std::vector<io::DirectoryEntry> list() override { return directory_.list(); }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    return directory_.find(name);
  }
  std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override {
    if (name == name_ && ++opened_ == at_) directory_.remove(name);
    return directory_.open_bytes(name);
  }
  [[nodiscard]] bool pruned() const { return opened_ >= at_; }

 private:
  io::Directory& directory_;
  const std::string name_;
  const unsigned at_;
  unsigned opened_ = 0;
};

class SharedWalTest : public ::testing::Test {
 protected:
  SharedWalTest() {
    wal_.grow_to(segment(9));
    archive_.segments(wal_, 1, 5, codec::Method::zstd).segments(wal_, 5, 9);
    end_ = wal_.complete_end(segment(9));
    directory_ = archive_.disk.open();
    shelf_.emplace(*directory_);
    shared_.emplace(*shelf_, Cluster{WalBuilder::Options().system_identifier, kSize, 18},
                    machine_threads(),
                    SharedWal::Options{.window = 600'000,
                                       .memory = 1'000'000,
                                       .apart = 200'000,
                                       .patience = std::chrono::minutes(10),
                                       .ahead = 100'000});
  }

  /// Up to where one reader comes by itself, and how many files it opens.
  std::pair<Lsn, unsigned> alone(Lsn from) {
    CountingShelf shelf(*directory_);
    CheckedWal reader(shelf, {WalBuilder::Options().system_identifier, kSize, 18}, history_, from);
    while (!reader.read(end_).wal.empty()) {
    }
    return {reader.position(), shelf.opened};
  }

  struct Client {
    Client(SharedWal& shared, Lsn begin) : from(begin), at(begin), reader(shared) {}
    const Lsn from;
    Lsn at;
    test::Bytes wal{};
    SharedWal::Reader reader;
  };
  Client& client(Lsn from) { return clients_.emplace_back(*shared_, from); }
  /// One piece; false: there is nothing more, or an error.
  bool step(Client& client, Lsn limit) {
    if (client.at >= limit) return false;
    auto read = client.reader.read(history_, client.at, limit);
    client.reader.pause();
    trouble_ = std::move(read.trouble);
    EXPECT_LE(read.piece.wal.size(), limit - client.at);
    client.wal.insert(client.wal.end(), read.piece.wal.begin(), read.piece.wal.end());
    client.at = client.at + read.piece.wal.size();
    return !read.piece.empty();
  }
  bool has_the_right_bytes(const Client& client) {
    const auto expected = wal_.bytes(client.from, client.at);
    return std::equal(client.wal.begin(), client.wal.end(), expected.begin(), expected.end());
  }

  ArchiveBuilder archive_;
  WalBuilder wal_{{.switch_every = 0}};
  Lsn end_;
  const wal::TimelineHistory history_{1};
  std::unique_ptr<io::Directory> directory_;
  std::optional<CountingShelf> shelf_;
  std::optional<SharedWal> shared_;
  std::list<Client> clients_;
  std::optional<CheckedWal::Trouble> trouble_;
};

TEST_F(SharedWalTest, ReadsOnceForAllWhoAreAtTheSamePlace) {
  for (int i = 0; i < 5; ++i) client(segment(1));
  for (bool more = true; more;) {
    more = false;
    for (auto& each : clients_) more = step(each, end_) || more;
  }
  EXPECT_EQ(shelf_->opened, alone(segment(1)).second);
  for (const auto& each : clients_) {
    EXPECT_EQ(each.at, end_);
    EXPECT_TRUE(has_the_right_bytes(each));
  }
}

TEST_F(SharedWalTest, WhoFallsBehindReadsForItselfUntilItHasCaughtUp) {
  auto& quick = client(segment(1));
  auto& slow = client(segment(1));
  EXPECT_TRUE(step(slow, end_));
  while (quick.at < segment(3)) ASSERT_TRUE(step(quick, end_));
  const auto once = shelf_->opened.load();
  while (slow.at < quick.at) ASSERT_TRUE(step(slow, end_));
  EXPECT_GT(shelf_->opened, once);
  // From here on they go together again, through six files; each may have begun one more.
  const auto before = shelf_->opened.load();
  // (While they send, each one's next piece is read.)
  for (bool more = true; more;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    more = step(quick, end_);
    more = step(slow, end_) || more;
  }
  EXPECT_LE(shelf_->opened, before + 8);
  EXPECT_TRUE(has_the_right_bytes(quick));
  EXPECT_TRUE(has_the_right_bytes(slow));
}

TEST_F(SharedWalTest, WhoIsInFrontLetsThoseGoFirstWhoAreOnTheirWay) {
  for (int i = 0; i < 4; ++i) {
    auto& each = client(segment(1));
    each.at = each.at + each.reader.read(history_, each.at, end_).piece.wal.size();
  }
  std::vector<std::thread> threads;
  for (auto& mine : clients_) {
    const bool slow = threads.empty();
    threads.emplace_back([this, &mine, slow] {
      for (unsigned round = 0; mine.at < end_; ++round) {
        auto read = mine.reader.read(history_, mine.at, end_);
        mine.at = mine.at + read.piece.wal.size();
        if (slow && round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      mine.reader.pause();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(shelf_->opened, alone(segment(1)).second);
}

TEST_F(SharedWalTest, TheNextPieceIsReadWhileASessionSends) {
  // The first piece ends with a segment, so that the next one opens a file.
  const auto begin = Lsn(segment(2).byte() - 50'000);
  const auto read = [&](Client& client, Lsn limit) {
    auto piece = client.reader.read(history_, client.at, limit).piece.wal;
    client.wal.insert(client.wal.end(), piece.begin(), piece.end());
    client.at = client.at + piece.size();
  };
  const auto is_opened = [&](unsigned count) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (shelf_->opened != count && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return shelf_->opened == count;
  };
  auto& one = client(begin);
  read(one, segment(2));
  auto& other = client(begin);
  read(other, segment(2));
  const auto opened = shelf_->opened.load();
  ASSERT_LE(one.at, segment(2));
  auto& third = client(begin);
  read(third, end_);
  EXPECT_TRUE(is_opened(opened + 1));
  for (auto& each : clients_) {
    while (each.at <= segment(2)) read(each, end_);
    EXPECT_TRUE(has_the_right_bytes(each));
  }
  EXPECT_TRUE(is_opened(opened + 1)) << "it was there";
  // Also for a single one.
  for (auto& each : clients_) each.reader.leave();
  auto& single = client(begin);
  read(single, segment(2));
  const auto before = shelf_->opened.load();
  single.at = begin;
  single.wal.clear();
  read(single, end_);
  EXPECT_TRUE(is_opened(before + 1));
  while (single.at < end_) read(single, end_);
  EXPECT_TRUE(has_the_right_bytes(single));
  single.reader.pause();
}

TEST_F(SharedWalTest, WhatWasReadAheadAndIsDamagedIsMetByWhoComesThere) {
  const auto record =
      std::find_if(wal_.records().begin(), wal_.records().end(), [](const auto& each) {
        return each.kind == WalBuilder::Kind::ordinary && each.start > segment(6) + 400'000;
      });
  ASSERT_NE(record, wal_.records().end());
  archive_.flip(ArchiveBuilder::name(wal_, 6), kSize.offset(record->start) + 8, 3);
  const auto sound = alone(segment(5)).first;
  client(segment(5));
  client(segment(5));
  unsigned troubles = 0;
  for (unsigned over = 0; over < 2;)
    for (auto& each : clients_) {
      auto read = each.reader.read(history_, each.at, end_);
      each.at = each.at + read.piece.wal.size();
      if (!read.trouble) continue;
      EXPECT_TRUE(read.piece.empty());
      EXPECT_EQ(each.at, sound);
      each.reader.leave();
      ++troubles;
      ++over;
    }
  EXPECT_EQ(troubles, 2u);
}

TEST_F(SharedWalTest, DamageInWhosePlaceAnotherFormIsReadIsToldOnce) {
  const auto record =
      std::find_if(wal_.records().begin(), wal_.records().end(), [](const auto& each) {
        return each.kind == WalBuilder::Kind::ordinary && each.start > segment(6) + 400'000;
      });
  ASSERT_NE(record, wal_.records().end());
  archive_.segments(wal_, 6, 7, codec::Method::zstd);
  archive_.flip(ArchiveBuilder::name(wal_, 6), kSize.offset(record->start) + 8, 3);
  client(segment(5));
  client(segment(5));
  unsigned told = 0;
  for (bool more = true; more;) {
    more = false;
    for (auto& each : clients_) {
      if (each.at == end_) continue;
      auto read = each.reader.read(history_, each.at, end_);
      ASSERT_FALSE(read.trouble);
      told += read.passed_over ? 1 : 0;
      each.wal.insert(each.wal.end(), read.piece.wal.begin(), read.piece.wal.end());
      each.at = each.at + read.piece.wal.size();
      if (each.at == end_) each.reader.pause();
      more = true;
    }
  }
  EXPECT_EQ(told, 1u);
  for (const auto& each : clients_) EXPECT_TRUE(has_the_right_bytes(each));
}

TEST_F(SharedWalTest, NobodyGetsMoreThanItMay) {
  auto& candidate = client(segment(1));
  auto& held_back = client(segment(1));
  const auto hold = segment(1) + 50'001;
  EXPECT_TRUE(step(candidate, end_));
  while (step(held_back, hold)) {
  }
  EXPECT_LE(held_back.at, hold);
  while (step(candidate, end_)) {
  }
  while (step(held_back, end_)) {
  }
  EXPECT_EQ(candidate.at, end_);
  EXPECT_EQ(held_back.at, end_);
  EXPECT_TRUE(has_the_right_bytes(candidate));
  EXPECT_TRUE(has_the_right_bytes(held_back));
}

TEST_F(SharedWalTest, GivesNothingOfARecordThatIsNotComplete) {
  const auto record = std::find_if(
      wal_.records().begin(), wal_.records().end(), [](const WalBuilder::Record& each) {
        return each.kind == WalBuilder::Kind::ordinary && each.start > segment(5) + 100'000;
      });
  ASSERT_NE(record, wal_.records().end());
  auto& one = client(segment(5));
  auto& other = client(segment(5));
  const auto limit = Lsn(record->end.byte() - 8);
  while (step(one, limit)) {
  }
  while (step(other, limit)) {
  }
  EXPECT_LE(one.at, record->start);
  EXPECT_EQ(one.at, other.at);
  EXPECT_TRUE(step(other, record->end));
  EXPECT_TRUE(step(one, record->end));
  EXPECT_EQ(one.at, record->end);
  EXPECT_TRUE(has_the_right_bytes(one));
  EXPECT_TRUE(has_the_right_bytes(other));
}

TEST_F(SharedWalTest, WhatIsDamagedIsMetByEachAndLookedAtAnew) {
  const auto name = ArchiveBuilder::name(wal_, 6);
  const auto record =
      std::find_if(wal_.records().begin(), wal_.records().end(), [](const auto& each) {
        return each.kind == WalBuilder::Kind::ordinary && each.start > segment(6) + 400'000;
      });
  ASSERT_NE(record, wal_.records().end());
  archive_.flip(name, kSize.offset(record->start) + 8, 3);
  const auto sound = alone(segment(5)).first;
  EXPECT_GT(sound, segment(6));
  auto& one = client(segment(5));
  auto& other = client(segment(5));
  for (auto* const each : {&one, &other}) {
    while (step(*each, end_)) {
    }
    ASSERT_TRUE(trouble_);
    EXPECT_EQ(trouble_->report.sqlstate, "XX001");
    EXPECT_LE(each->at, record->start);
    EXPECT_EQ(each->at, sound);
    each->reader.leave();
  }
  const auto content = wal_.bytes(segment(6), segment(7));
  archive_.disk.put(name, {content.begin(), content.end()});
  while (step(other, end_)) {
  }
  EXPECT_FALSE(trouble_);
  EXPECT_EQ(other.at, end_);
  EXPECT_TRUE(has_the_right_bytes(other));
}

TEST_F(SharedWalTest, WhatIsGoneIsMissedByWhoHasNotGotItOnly) {
  auto& quick = client(segment(5));
  auto& slow = client(segment(5));
  while (step(quick, end_)) {
  }
  for (std::uint64_t segno = 5; segno < 9; ++segno)
    archive_.disk.open()->remove(ArchiveBuilder::name(wal_, segno));
  EXPECT_EQ(quick.at, end_);
  EXPECT_FALSE(step(slow, end_));
  ASSERT_TRUE(trouble_);
  EXPECT_EQ(trouble_->report.sqlstate, "58P01");
}

TEST_F(SharedWalTest, WhatIsPrunedWhileItIsReadHasBeenRemoved) {
  const auto within = std::find_if(
      wal_.records().begin(), wal_.records().end(), [](const WalBuilder::Record& record) {
        return record.kind == WalBuilder::Kind::ordinary &&
               kSize.segno(record.start) + 1 == kSize.segno(Lsn(record.end.byte() - 1));
      });
  ASSERT_NE(within, wal_.records().end());
  const auto segno = kSize.segno(within->start) + 1;
  const auto name = ArchiveBuilder::name(wal_, segno, codec::Method::zstd);
  unsigned times = 0;
  for (bool pruned = true; pruned;) {
    ArchiveBuilder archive;  // it begins within a record
    archive.segments(wal_, segno, segno + 2, codec::Method::zstd);
    const auto directory = archive.disk.open();
    PrunedShelf shelf(*directory, name, times + 1);
    SharedWal shared(shelf, Cluster{WalBuilder::Options().system_identifier, kSize, 18},
                     machine_threads());
    SharedWal::Reader reader(shared);
    const auto read = reader.read(history_, segment(segno), segment(segno + 1));
    reader.leave();
    pruned = shelf.pruned();
    if (!pruned) break;
    ++times;
    ASSERT_TRUE(read.trouble);
    EXPECT_EQ(read.trouble->report.sqlstate, "58P01");
  }
  EXPECT_GT(times, 1u);
}

TEST_F(SharedWalTest, AnotherHistoryIsAnotherFlow) {
  auto& one = client(segment(1));
  EXPECT_TRUE(step(one, end_));
  const auto opened = shelf_->opened.load();
  SharedWal::Reader other(*shared_);
  const auto history = *wal::TimelineHistory::parse(2, "1\t0/280000\tx\n");
  const auto read = other.read(history, segment(1), segment(2));
  other.pause();
  EXPECT_FALSE(read.piece.empty());
  EXPECT_EQ(shelf_->opened, opened + 1);
}

TEST_F(SharedWalTest, ManyThreadsGetTheRightBytes) {
  constexpr int kThreads = 6;
  std::mt19937_64 random(test::seed_or(5));
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    auto& mine = client(segment(1) + (i < 3 ? 0 : random() % (1 << 20)));
    threads.emplace_back([this, &mine, seed = random()] {
      std::mt19937_64 own(seed);
      for (;;) {
        const auto limit = std::min(end_, mine.at + 1 + own() % 1'000'000);
        auto read = mine.reader.read(history_, mine.at, limit);
        EXPECT_FALSE(read.trouble);
        mine.wal.insert(mine.wal.end(), read.piece.wal.begin(), read.piece.wal.end());
        mine.at = mine.at + read.piece.wal.size();
        if (mine.at == end_) break;
        if (own() % 100 == 0) mine.reader.leave();
      }
      mine.reader.pause();
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& each : clients_) EXPECT_TRUE(has_the_right_bytes(each));
}

}  // namespace
}  // namespace weir::relay::shared_wal_test
