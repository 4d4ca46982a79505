#include "relay/checked_wal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/growing_buffer.h"
#include "relay/archive_end.h"
#include "support/archive_builder.h"
#include "wal/page.h"

namespace weir::relay::checked_wal_test {
namespace {

using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::history_line;
using verify::kSize;
using verify::promote;
using wal::Lsn;

Lsn segment(std::uint64_t segno) { return kSize.start(segno); }

class CheckedWalTest : public ::testing::Test {
 protected:
  Cluster cluster() const { return {WalBuilder::Options().system_identifier, kSize, 18}; }

  struct Result {
    test::Bytes wal;
    std::optional<CheckedWal::Trouble> trouble;
    std::size_t pieces = 0;
    std::size_t passed_over = 0;
  };
  Result read(Lsn from, Lsn limit, wal::TimelineHistory history = wal::TimelineHistory(1)) {
    const auto directory = archive_.disk.open();
    CheckedWal reader(*directory, cluster(), std::move(history), from);
    Result result;
    for (;;) {
      auto piece = reader.read(limit);
      result.trouble = std::move(piece.trouble);
      if (piece.passed_over) ++result.passed_over;
      if (piece.wal.empty()) return result;
      EXPECT_LE(piece.wal.size(), 128u * 1024);
      result.wal.insert(result.wal.end(), piece.wal.begin(), piece.wal.end());
      EXPECT_EQ(reader.position(), from + result.wal.size());
      ++result.pieces;
    }
  }
  static test::Bytes bytes(WalBuilder& wal, Lsn from, Lsn to) {
    const auto span = wal.bytes(from, to);
    return {span.begin(), span.end()};
  }

  ArchiveBuilder archive_;
  WalBuilder wal_{{}};
};

TEST_F(CheckedWalTest, GivesTheSameBytesOfEachForm) {
  wal_.grow_to(segment(7));
  archive_.segments(wal_, 1, 2)
      .segments(wal_, 2, 4, codec::Method::zstd)
      .segments(wal_, 4, 5, codec::Method::gzip)
      .partial(wal_, segment(5) + 300'000);
  const auto end = wal_.complete_end(segment(5) + 300'000);
  for (const auto from : {segment(1), segment(3), segment(2) + 12'345, segment(5) + 8}) {
    SCOPED_TRACE(from.to_string());
    const auto result = read(from, end);
    EXPECT_FALSE(result.trouble);
    EXPECT_EQ(result.wal, bytes(wal_, from, end));
  }
}

TEST_F(CheckedWalTest, HandsOverTheMemoryOfWhatItHasRead) {
  wal_.grow_to(segment(3));
  wal_.append_random(3'000'000);
  wal_.grow_to(segment(9));
  archive_.segments(wal_, 1, 6).segments(wal_, 6, 9, codec::Method::zstd);
  const auto end = wal_.complete_end(segment(8) + 300'000);
  const auto directory = archive_.disk.open();
  for (const auto from : {segment(1), segment(2) + 12'345}) {
    SCOPED_TRACE(from.to_string());
    CheckedWal reader(*directory, cluster(), wal::TimelineHistory(1), from);
    std::vector<GrowingBuffer> held;
    std::vector<std::pair<Lsn, std::span<const std::byte>>> pieces;
    test::Bytes copied;
    copied.reserve(end - from);
    GrowingBuffer other;
    for (auto at = from; at < end; at = reader.position()) {
      const auto read = reader.read(end, 512'000);
      ASSERT_FALSE(read.trouble);
      ASSERT_FALSE(read.wal.empty());
      if (auto memory = reader.hand_over(read.wal, other)) {
        EXPECT_TRUE(memory->begin() <= read.wal.data() &&
                    read.wal.data() + read.wal.size() <= memory->end());
        EXPECT_GE(2 * read.wal.size(), memory->size());
        held.push_back(std::move(*memory));
        other = GrowingBuffer();
        pieces.emplace_back(at, read.wal);
      } else {
        const auto begin = copied.size();
        copied.insert(copied.end(), read.wal.begin(), read.wal.end());
        pieces.emplace_back(at, std::span(copied).subspan(begin));
      }
    }
    EXPECT_GE(held.size(), 5u);
    for (const auto& [at, piece] : pieces) {
      const auto expected = wal_.bytes(at, at + piece.size());
      ASSERT_TRUE(std::equal(piece.begin(), piece.end(), expected.begin(), expected.end()))
          << at.to_string();
    }
  }
}

TEST_F(CheckedWalTest, TheRestOfARecordAtTheBeginIsProvedByTheFilesChecksum) {
  WalBuilder wal{{.switch_every = 0}};
  wal.grow_to(segment(8));
  unsigned within = 0;
  for (std::uint64_t segno = 2; segno < 7; ++segno) {
    const bool begins_within = std::any_of(
        wal.records().begin(), wal.records().end(), [&](const WalBuilder::Record& record) {
          return record.kind == WalBuilder::Kind::ordinary && record.start < segment(segno) &&
                 record.end > segment(segno);
        });
    if (!begins_within) continue;
    ++within;
    const auto end = wal.complete_end(segment(segno) + 300'000);
    const auto name = ArchiveBuilder::name(wal, segno, codec::Method::zstd);
    archive_.segments(wal, segno, segno + 1, codec::Method::zstd);
    EXPECT_EQ(read(segment(segno), end).wal, bytes(wal, segment(segno), end));
    // The checksum of the last frame, which lies behind what is read.
    archive_.flip(name, archive_.disk.content(name).size() - 2, 1);
    const auto result = read(segment(segno), end);
    ASSERT_TRUE(result.trouble);
    EXPECT_EQ(result.trouble->report.sqlstate, "XX001");
    EXPECT_TRUE(result.wal.empty());
    // With the front of that record each record proves itself.
    archive_.segments(wal, segno - 1, segno);
    EXPECT_EQ(read(segment(segno), end).wal, bytes(wal, segment(segno), end));
    archive_.disk.open()->remove(ArchiveBuilder::name(wal, segno - 1));
    archive_.disk.open()->remove(name);
  }
  EXPECT_GT(within, 0u);
}

TEST_F(CheckedWalTest, GivesNothingOfARecordThatIsNotComplete) {
  wal_.grow_to(segment(2));
  archive_.segments(wal_, 1, 2);
  unsigned inside = 0;
  for (const auto& record : wal_.records()) {
    if (record.kind != WalBuilder::Kind::ordinary || record.end > segment(1) + 100'000) continue;
    const auto limit = Lsn(record.end.byte() - 8);
    const auto result = read(segment(1), limit);
    EXPECT_FALSE(result.trouble);
    EXPECT_LE(segment(1) + result.wal.size(), record.start);
    ++inside;
  }
  EXPECT_GT(inside, 10u);
}

TEST_F(CheckedWalTest, GivesARecordThatIsLargerThanItsMemory) {
  wal_.append_random(5'000'000);
  wal_.append_random(100);
  wal_.append_random(9'000'000);
  const auto end = wal_.end();
  wal_.grow_to(segment(17));
  archive_.segments(wal_, 1, 17, codec::Method::zstd);
  const auto result = read(segment(1), end);
  EXPECT_FALSE(result.trouble);
  EXPECT_TRUE(result.wal == bytes(wal_, segment(1), end));
  // Damage at its far end is found before its first byte is given.
  archive_.disk.put(ArchiveBuilder::name(wal_, 4, codec::Method::zstd),
                    verify::packed(codec::Method::zstd, [&] {
                      auto content = bytes(wal_, segment(4), segment(5));
                      content[300'000] ^= std::byte{1};
                      return content;
                    }()));
  const auto damaged = read(segment(1), end);
  EXPECT_LT(damaged.wal.size(), 8192u);
  ASSERT_TRUE(damaged.trouble);
  EXPECT_EQ(damaged.trouble->report.sqlstate, "XX001");
}

TEST_F(CheckedWalTest, GivesTheRecordsInFrontOfDamage) {
  WalBuilder wal{{.switch_every = 0}};
  wal.grow_to(segment(2));
  archive_.segments(wal, 1, 2);
  unsigned seen = 0;
  for (const auto& record : wal.records()) {
    if (record.kind != WalBuilder::Kind::ordinary || record.start < segment(1) + 150'000 ||
        record.end.byte() / wal::kPageSize != record.start.byte() / wal::kPageSize)
      continue;
    archive_.flip(ArchiveBuilder::name(wal, 1), kSize.offset(record.start) + 21, 1);
    const auto result = read(segment(1), segment(2));
    ASSERT_TRUE(result.trouble);
    EXPECT_EQ(segment(1) + result.wal.size(), record.start);
    archive_.flip(ArchiveBuilder::name(wal, 1), kSize.offset(record.start) + 21, 1);
    if (++seen == 20) break;
  }
  EXPECT_GT(seen, 0u);
}

TEST_F(CheckedWalTest, EachChangedBitIsFoundAndNothingBehindItGiven) {
  wal_.grow_to(segment(3));
  const auto end = wal_.complete_end(segment(3));
  std::mt19937_64 random(test::seed_or(11));
  for (int round = 0; round < 40; ++round) {
    archive_.disk.put(ArchiveBuilder::name(wal_, 1), bytes(wal_, segment(1), segment(2)));
    archive_.disk.put(ArchiveBuilder::name(wal_, 2), bytes(wal_, segment(2), segment(3)));
    const auto at = segment(1) + random() % (end - segment(1));
    // Behind an xlog switch, in padding and in some bits of a page's header nothing means anything.
    const auto record = std::find_if(
        wal_.records().begin(), wal_.records().end(), [&](const WalBuilder::Record& each) {
          return each.kind == WalBuilder::Kind::ordinary && each.start <= at &&
                 at.byte() < each.start.byte() + 24;
        });
    if (record == wal_.records().end() || at.byte() % wal::kPageSize < wal::kLongHeaderSize)
      continue;
    archive_.flip(ArchiveBuilder::name(wal_, kSize.segno(at)), kSize.offset(at),
                  static_cast<unsigned>(random() % 8));
    const auto result = read(segment(1), end);
    SCOPED_TRACE(at.to_string());
    ASSERT_TRUE(result.trouble);
    EXPECT_EQ(result.trouble->report.sqlstate, "XX001");
    EXPECT_LE(segment(1) + result.wal.size(), record->end);
    EXPECT_TRUE(result.wal == bytes(wal_, segment(1), segment(1) + result.wal.size()));
    EXPECT_NE(result.trouble->report.message.find(ArchiveBuilder::name(wal_, kSize.segno(at))),
              std::string::npos)
        << result.trouble->report.message;
  }
}

TEST_F(CheckedWalTest, ZerosAreRightBehindAnXlogSwitchOnly) {
  wal_.append_random(1000);
  wal_.append_switch();
  wal_.grow_to(segment(3) + 100'000);
  const auto end = wal_.complete_end(segment(3) + 100'000);
  archive_.segments(wal_, 1, 3).partial(wal_, segment(3) + 100'000);
  const auto whole = read(segment(1), end);
  EXPECT_FALSE(whole.trouble);
  EXPECT_TRUE(whole.wal == bytes(wal_, segment(1), end));

  auto content = bytes(wal_, segment(2), segment(3));
  std::fill_n(content.begin() + 5 * 8192, 8192, std::byte{0});
  archive_.disk.put(ArchiveBuilder::name(wal_, 2), content);
  const auto torn = read(segment(1), end);
  ASSERT_TRUE(torn.trouble);
  EXPECT_LE(segment(1) + torn.wal.size(), segment(2) + 5 * 8192);
  EXPECT_EQ(torn.trouble->report.sqlstate, "XX001");
}

TEST_F(CheckedWalTest, WhatIsMissingOrCutOffIsToldApart) {
  wal_.grow_to(segment(4));
  const auto end = wal_.complete_end(segment(4));
  archive_.segments(wal_, 1, 2).segments(wal_, 3, 4);
  const auto missing = read(segment(1), end);
  ASSERT_TRUE(missing.trouble);
  EXPECT_EQ(missing.trouble->report.sqlstate, "58P01");
  EXPECT_EQ(missing.trouble->report.message,
            "requested WAL segment " + ArchiveBuilder::name(wal_, 2) + " has already been removed");
  EXPECT_NE(missing.trouble->error.hint().find("pgweir store get"), std::string::npos)
      << "--local-retention may have removed it";
  // Mended in place, it is given.
  archive_.segments(wal_, 2, 3);
  EXPECT_FALSE(read(segment(1), end).trouble);

  auto content = bytes(wal_, segment(2), segment(3));
  content.resize(content.size() / 2);
  archive_.disk.put(ArchiveBuilder::name(wal_, 2), content);
  const auto cut = read(segment(1), end);
  ASSERT_TRUE(cut.trouble);
  EXPECT_EQ(cut.trouble->report.sqlstate, "XX001");
}

TEST_F(CheckedWalTest, AnotherTimelinesPageIsDamage) {
  wal_.grow_to(segment(3));
  WalBuilder::Options options;
  options.timeline = 2;
  WalBuilder other(options);
  other.grow_to(segment(3));
  archive_.segments(wal_, 1, 2);
  archive_.disk.put(ArchiveBuilder::name(wal_, 2), bytes(other, segment(2), segment(3)));
  const auto result = read(segment(1), wal_.complete_end(segment(3)));
  ASSERT_TRUE(result.trouble);
  EXPECT_LE(segment(1) + result.wal.size(), segment(2));
}

TEST_F(CheckedWalTest, FollowsAHistoryAcrossASwitch) {
  wal_.grow_to(segment(2) + 500'000);
  const auto fork = wal_.fork_point(segment(2) + 200'000);
  auto child = promote(wal_, fork, 2, 5);
  child.grow_to(segment(4));
  archive_.segments(wal_, 1, 2)
      .partial(wal_, segment(2) + 400'000)
      .history(2, history_line(1, fork))
      .segments(child, 2, 4);
  const auto history = *wal::TimelineHistory::parse(2, history_line(1, fork));
  const auto end = child.complete_end(segment(4));
  const auto all = read(segment(1), end, history);
  EXPECT_FALSE(all.trouble) << all.trouble->error.what();
  auto expected = bytes(wal_, segment(1), fork);
  const auto rest = bytes(child, fork, end);
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_TRUE(all.wal == expected);
  // Of the old timeline it ends with the switchpoint.
  EXPECT_TRUE(read(segment(1), fork, history).wal == bytes(wal_, segment(1), fork));
}

/// A server that had flushed only the front of a record was promoted. (14.4 and older minor
/// versions begin the new timeline behind that front.)
TEST_F(CheckedWalTest, GivesTheFrontOfARecordThatTheNextTimelineOverwrites) {
  WalBuilder wal{{.switch_every = 0, .abort_every = 0}};
  wal.grow_to(segment(2) + 200'000);
  wal.append_aborted(50'000, 2);
  const auto record = wal.records().at(wal.records().size() - 2);
  const auto switchpoint = record.end;
  wal.grow_to(segment(3));
  archive_.segments(wal, 1, 2).history(2, history_line(1, switchpoint));
  const auto name = wal::SegmentName(2, 2, kSize).to_string();
  archive_.disk.put(name, bytes(wal, segment(2), segment(3)));
  const auto history = *wal::TimelineHistory::parse(2, history_line(1, switchpoint));
  for (const auto from : {segment(1), segment(2)}) {
    const auto all = read(from, switchpoint, history);
    EXPECT_FALSE(all.trouble) << all.trouble->error.what();
    EXPECT_TRUE(all.wal == bytes(wal, from, switchpoint));
  }
  // Within the timeline it is a record like any other.
  const auto part = read(segment(1), wal::Lsn(switchpoint.byte() - 8192), history);
  EXPECT_FALSE(part.trouble);
  EXPECT_TRUE(part.wal == bytes(wal, segment(1), record.start));
}

TEST_F(CheckedWalTest, GivesTheRestOfARecordAtTheBeginThatEndsItsTimeline) {
  WalBuilder wal{{.switch_every = 0}};
  wal.grow_to(segment(8));
  const auto& records = wal.records();
  const auto record = std::find_if(records.begin(), records.end(), [&](const auto& each) {
    return each.kind == WalBuilder::Kind::ordinary &&
           kSize.segno(each.start) + 1 == kSize.segno(each.end) && kSize.offset(each.end) != 0;
  });
  ASSERT_NE(record, records.end());
  const auto switchpoint = record->end;
  const auto segno = kSize.segno(switchpoint);
  archive_.history(2, history_line(1, switchpoint));
  const auto history = *wal::TimelineHistory::parse(2, history_line(1, switchpoint));
  archive_.disk.put(wal::SegmentName(2, segno, kSize).to_string(),
                    bytes(wal, segment(segno), segment(segno + 1)));
  const auto all = read(segment(segno), switchpoint, history);
  EXPECT_FALSE(all.trouble) << all.trouble->error.what();
  EXPECT_TRUE(all.wal == bytes(wal, segment(segno), switchpoint));
}

TEST_F(CheckedWalTest, ARecordThatSeemsToGoOnWhereItsTimelineEndsIsDamaged) {
  wal_.grow_to(segment(3));
  const auto& records = wal_.records();
  const auto last = std::find_if(records.begin(), records.end(), [](const auto& each) {
    return each.kind == WalBuilder::Kind::ordinary && each.start >= segment(2) + 200'000 &&
           each.start.byte() % 8192 > wal::kLongHeaderSize &&
           each.start.byte() / 8192 == each.end.byte() / 8192;
  });
  ASSERT_NE(last, records.end());
  const auto record = *last;
  const auto history = *wal::TimelineHistory::parse(2, history_line(1, record.end));
  const wal::SegmentName name(2, 2, kSize);
  archive_.segments(wal_, 1, 2).history(2, history_line(1, record.end));
  const auto sound = bytes(wal_, segment(2), segment(3));
  auto content = sound;
  content.at(kSize.offset(record.start) + 2) ^= std::byte{1};  // its length: 64 kB more
  archive_.disk.put(name.to_string(), content);
  const auto damaged = read(segment(1), record.end, history);
  ASSERT_TRUE(damaged.trouble);
  EXPECT_EQ(damaged.trouble->report.sqlstate, "XX001");
  EXPECT_TRUE(damaged.wal == bytes(wal_, segment(1), record.start));
  // Another form of the segment is read in its place.
  archive_.disk.put(name.to_string() + ".zst", verify::packed(codec::Method::zstd, sound));
  const auto all = read(segment(1), record.end, history);
  EXPECT_FALSE(all.trouble) << all.trouble->error.what();
  EXPECT_EQ(all.passed_over, 1u);
  EXPECT_TRUE(all.wal == bytes(wal_, segment(1), record.end));
}

/// pg_receivewal's form of an unfinished segment ends somewhere; a receiver begins it again.
TEST_F(CheckedWalTest, GoesOnInTheFileWithWhichTheSegmentWasBegunAgain) {
  wal_.grow_to(segment(3));
  archive_.segments(wal_, 1, 2)
      .partial(wal_, segment(2) + 100'000, ArchiveBuilder::Tail::none, codec::Method::gzip);
  const auto directory = archive_.disk.open();
  CheckedWal reader(*directory, cluster(), wal::TimelineHistory(1), segment(2));
  test::Bytes received;
  const auto read_to = [&](Lsn limit) {
    for (;;) {
      const auto piece = reader.read(limit);
      EXPECT_FALSE(piece.trouble) << piece.trouble->error.what();
      if (piece.wal.empty()) return;
      received.insert(received.end(), piece.wal.begin(), piece.wal.end());
    }
  };
  const auto first = wal_.complete_end(segment(2) + 100'000);
  read_to(first);
  EXPECT_EQ(received, bytes(wal_, segment(2), first));
  archive_.partial(wal_, segment(2) + 300'000);
  const auto further = wal_.complete_end(segment(2) + 300'000);
  read_to(further);
  EXPECT_EQ(received, bytes(wal_, segment(2), further));
}

/// And before it has got as far, its file has nothing, or zeros.
TEST_F(CheckedWalTest, GivesWhatTheOtherUnfinishedFormHasUntilTheReceiverHasGotAsFar) {
  wal_.grow_to(segment(3));
  const auto raw = ArchiveBuilder::name(wal_, 2) + ".partial";
  const auto early = wal_.complete_end(segment(2) + 100'000);
  const auto late = wal_.complete_end(segment(2) + 300'000);
  for (const std::size_t begun : {std::size_t{0}, std::size_t{8192}, kSize.bytes()}) {
    SCOPED_TRACE(begun);
    archive_.segments(wal_, 1, 2)
        .partial(wal_, segment(2) + 100'000, ArchiveBuilder::Tail::none, codec::Method::gzip);
    const auto directory = archive_.disk.open();
    const auto begin_again = [&] { archive_.disk.put(raw, test::Bytes(begun)); };
    begin_again();
    CheckedWal reader(*directory, cluster(), wal::TimelineHistory(1), segment(2));
    test::Bytes received;
    const auto read_to = [&](Lsn limit) -> std::optional<CheckedWal::Trouble> {
      for (;;) {
        auto piece = reader.read(limit);
        if (piece.trouble) return std::move(piece.trouble);
        EXPECT_FALSE(piece.passed_over);
        if (piece.wal.empty()) return std::nullopt;
        received.insert(received.end(), piece.wal.begin(), piece.wal.end());
      }
    };
    EXPECT_FALSE(read_to(early));
    EXPECT_EQ(received, bytes(wal_, segment(2), early));
    archive_.partial(wal_, segment(2) + 300'000);
    EXPECT_FALSE(read_to(late));
    EXPECT_EQ(received, bytes(wal_, segment(2), late));

    // Neither has it.
    begin_again();
    const auto trouble = read(segment(2), late).trouble;
    ASSERT_TRUE(trouble);
    EXPECT_EQ(trouble->report.sqlstate, "XX001");
  }
}

/// The receiver may complete it between the reader's two looks.
TEST_F(CheckedWalTest, GivesTheFinishedFormThatComesWhileTheOthersAreLookedFor) {
  wal_.grow_to(segment(3));
  const auto name = ArchiveBuilder::name(wal_, 2);
  const auto raw = name + ".partial";
  const auto early = wal_.complete_end(segment(2) + 100'000);
  archive_.segments(wal_, 1, 2)
      .partial(wal_, segment(2) + 100'000, ArchiveBuilder::Tail::none, codec::Method::gzip);
  archive_.disk.put(raw, test::Bytes(8192));
  const auto directory = archive_.disk.open();
  CheckedWal reader(*directory, cluster(), wal::TimelineHistory(1), segment(2));
  test::Bytes received;
  const auto read_to = [&](Lsn limit) {
    for (;;) {
      const auto piece = reader.read(limit);
      ASSERT_FALSE(piece.trouble) << piece.trouble->error.what();
      if (piece.wal.empty()) return;
      received.insert(received.end(), piece.wal.begin(), piece.wal.end());
    }
  };
  read_to(early);
  EXPECT_EQ(received, bytes(wal_, segment(2), early));
  bool completed = false;
  archive_.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::find && call.name == raw && !completed) {
      completed = true;
      archive_.disk.erase(raw);
      archive_.segments(wal_, 2, 3);
    }
    return sim::SimDisk::Effect::proceed();
  });
  read_to(segment(3));
  archive_.disk.set_hook({});
  EXPECT_TRUE(completed);
  const auto all = wal_.complete_end(segment(3));
  EXPECT_GE(received.size(), all - segment(2));
  EXPECT_TRUE(received == bytes(wal_, segment(2), segment(2) + received.size()));
}

TEST_F(CheckedWalTest, GivesAnotherFormWhereTheRecordsOfOneAreDamaged) {
  wal_.grow_to(segment(4));
  archive_.segments(wal_, 1, 4).segments(wal_, 2, 3, codec::Method::zstd);
  const auto end = wal_.complete_end(segment(4));
  const auto sound = bytes(wal_, segment(2), segment(3));
  const auto in_a_record = [&](std::uint64_t offset) {
    const auto& records = wal_.records();
    const auto found = std::find_if(records.begin(), records.end(), [&](const auto& each) {
      return each.start >= segment(2) + offset;
    });
    return kSize.offset(found->start) + 9;
  };
  for (const std::size_t at : {in_a_record(100), in_a_record(300'000)}) {
    SCOPED_TRACE(at);
    auto content = sound;
    content[at] ^= std::byte{16};
    archive_.disk.put(ArchiveBuilder::name(wal_, 2), content);
    for (const auto from : {segment(1), segment(2), segment(2) + 400'000}) {
      const auto result = read(from, end);
      EXPECT_FALSE(result.trouble) << result.trouble->error.what();
      EXPECT_TRUE(result.wal == bytes(wal_, from, end));
      EXPECT_EQ(result.passed_over, 1u);
    }
    // The other one is no better.
    archive_.disk.put(ArchiveBuilder::name(wal_, 2, codec::Method::zstd),
                      verify::packed(codec::Method::zstd, content));
    const auto result = read(segment(1), end);
    ASSERT_TRUE(result.trouble);
    EXPECT_EQ(result.trouble->report.sqlstate, "XX001");
    EXPECT_TRUE(result.wal == bytes(wal_, segment(1), segment(1) + result.wal.size()));
    archive_.segments(wal_, 2, 3, codec::Method::zstd);
  }
}

TEST_F(CheckedWalTest, AHoleBehindAnUnfinishedSegmentIsNoDamage) {
  wal_.grow_to(segment(6));
  archive_.segments(wal_, 1, 2).partial(wal_, segment(2) + 100'000).segments(wal_, 4, 5);
  const auto result = read(segment(1), wal_.complete_end(segment(5)));
  ASSERT_TRUE(result.trouble);
  EXPECT_EQ(result.trouble->report.sqlstate, "58P01");
  EXPECT_EQ(result.trouble->error.kind(), ErrorKind::gap);
  EXPECT_TRUE(result.wal == bytes(wal_, segment(1), segment(1) + result.wal.size()));
}

TEST_F(CheckedWalTest, AHoleInFrontOfASegmentThatHasJustBegunIsNoDamage) {
  wal_.grow_to(segment(4));
  archive_.segments(wal_, 1, 2).partial(wal_, segment(2) + 100'000);
  // All of that segment should be there.
  const auto damaged = read(segment(1), segment(3));
  ASSERT_TRUE(damaged.trouble);
  EXPECT_EQ(damaged.trouble->report.sqlstate, "XX001");
  // Of what lies behind a hole, only the file is there as yet.
  archive_.partial(wal_, segment(3));
  const auto missing = read(segment(1), segment(3));
  ASSERT_TRUE(missing.trouble);
  EXPECT_EQ(missing.trouble->report.sqlstate, "58P01");
  EXPECT_EQ(missing.trouble->error.kind(), ErrorKind::gap);
  EXPECT_TRUE(missing.wal == bytes(wal_, segment(1), segment(1) + missing.wal.size()));
}

TEST_F(CheckedWalTest, ARecordThatGoesOnBehindAHoleIsNoDamage) {
  WalBuilder wal{{.switch_every = 0}};
  wal.grow_to(segment(10));
  unsigned tried = 0;
  for (std::uint64_t segno = 2; segno < 8; ++segno) {
    const auto& records = wal.records();
    const auto crossing =
        std::find_if(records.begin(), records.end(), [&](const WalBuilder::Record& record) {
          return record.kind == WalBuilder::Kind::ordinary &&
                 record.start + 100 < segment(segno + 1) && record.end > segment(segno + 1) + 100;
        });
    if (crossing == records.end()) continue;
    SCOPED_TRACE(segno);
    ++tried;
    // The unfinished segment was torn in that record, and somebody has accepted a hole: the rest of
    // the record lies on its far side, which is being written.
    auto torn = bytes(wal, segment(segno), segment(segno + 1));
    torn[crossing->start - segment(segno) + 60] ^= std::byte{1};
    archive_.segments(wal, segno - 1, segno).partial(wal, segment(segno + 1) + 500'000);
    archive_.disk.put(ArchiveBuilder::name(wal, segno, codec::Method::none, true), torn);
    const auto result = read(segment(segno), wal.complete_end(segment(segno + 1) + 500'000));
    ASSERT_TRUE(result.trouble);
    EXPECT_EQ(result.trouble->report.sqlstate, "58P01") << result.trouble->error.what();
    EXPECT_TRUE(result.wal == bytes(wal, segment(segno), crossing->start));
  }
  EXPECT_GT(tried, 0U);
}

TEST_F(CheckedWalTest, AHoleBehindTheEndOfAnOlderTimelineIsNoDamage) {
  // Timeline 2 was begun, the server had no more of its first segment, and somebody accepted that.
  wal_.grow_to(segment(2) + 300'000);
  const auto switchpoint = wal_.fork_point(segment(2) + 300'000);
  auto child = wal_.fork(switchpoint, 2, 5);
  child.grow_to(segment(6));
  archive_.segments(wal_, 1, 2)
      .history(2, history_line(1, switchpoint))
      .partial(child, segment(2) + 100'000);
  const auto history = *wal::TimelineHistory::parse(2, history_line(1, switchpoint));
  // All that is served lies in that segment.
  const auto damaged = read(segment(1), switchpoint, history);
  ASSERT_TRUE(damaged.trouble);
  EXPECT_EQ(damaged.trouble->report.sqlstate, "XX001");
  for (const auto behind : {3u, 4u}) {
    SCOPED_TRACE(behind);
    archive_.partial(child, segment(behind) + 100'000);
    const auto missing = read(segment(1), switchpoint, history);
    ASSERT_TRUE(missing.trouble);
    EXPECT_EQ(missing.trouble->report.sqlstate, "58P01");
    EXPECT_EQ(missing.trouble->error.kind(), ErrorKind::gap);
    EXPECT_TRUE(missing.wal == bytes(wal_, segment(1), segment(1) + missing.wal.size()));
    archive_.disk.erase(ArchiveBuilder::name(child, behind, codec::Method::none, true));
  }
}

TEST_F(CheckedWalTest, AHoleBehindAnAncestorsFileIsNoDamage) {
  // Of timeline 2's first segment there is less than the ancestor's file has, and then a hole.
  wal_.grow_to(segment(3));
  const auto switchpoint = wal_.fork_point(segment(2) + 300'000);
  auto child = wal_.fork(switchpoint, 2, 5);
  child.grow_to(segment(6));
  archive_.segments(wal_, 1, 3)
      .history(2, history_line(1, switchpoint))
      .partial(child, segment(2) + 100'000);
  const auto history = *wal::TimelineHistory::parse(2, history_line(1, switchpoint));
  // All that is served lies in that segment.
  const auto damaged = read(segment(1), child.complete_end(segment(2) + 600'000), history);
  ASSERT_TRUE(damaged.trouble);
  EXPECT_EQ(damaged.trouble->report.sqlstate, "XX001");
  archive_.partial(child, segment(3) + 100'000);
  const auto missing = read(segment(1), child.complete_end(segment(3) + 100'000), history);
  ASSERT_TRUE(missing.trouble);
  EXPECT_EQ(missing.trouble->report.sqlstate, "58P01") << missing.trouble->error.what();
  EXPECT_EQ(
      missing.trouble->report.message,
      "requested WAL segment " + ArchiveBuilder::name(child, 2) + " has already been removed");
  EXPECT_TRUE(missing.wal == bytes(wal_, segment(1), segment(1) + missing.wal.size()));
}

TEST_F(CheckedWalTest, TheArchivesEndIsThatOfItsLastCompleteRecordOrSegment) {
  // Behind an xlog switch the zeros of a .partial would be right.
  WalBuilder wal({.switch_every = 0});
  wal.grow_to(segment(4));
  archive_.segments(wal, 1, 3, codec::Method::zstd);
  const auto directory = archive_.disk.open();
  const auto found = find_cluster(*directory);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->system_identifier, cluster().system_identifier);
  EXPECT_EQ(found->segment_size, kSize);
  EXPECT_EQ(found->major, 18);

  for (const std::uint64_t more : {0u, 1u, 100'000u, 200'001u}) {
    SCOPED_TRACE(more);
    if (more > 0) archive_.partial(wal, segment(3) + more);
    const auto served = find_served(*directory, kSize);
    ASSERT_TRUE(served);
    EXPECT_EQ(served->timeline(), 1u);
    const auto records = wal.complete_end(segment(3) + more);
    // A client that has the segment, and the front of a record in it, waits for the rest.
    EXPECT_EQ(served->end, std::max(records, segment(3)));
    EXPECT_EQ(read(segment(1), served->end).wal.size(), records - segment(1));
  }
}

TEST_F(CheckedWalTest, TheArchivesEndIsBehindWhatAnXlogSwitchLeavesEmpty) {
  WalBuilder wal({.switch_every = 50});
  wal.grow_to(segment(4));
  const auto& records = wal.records();
  const auto last = std::find_if(records.rbegin(), records.rend(), [](const auto& each) {
    return each.kind == WalBuilder::Kind::xlog_switch && kSize.offset(each.end) != 0;
  });
  ASSERT_NE(last, records.rend());
  const auto behind = kSize.segno(last->end) + 1;
  archive_.segments(wal, 1, behind);
  const auto directory = archive_.disk.open();
  const auto served = find_served(*directory, kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, segment(behind)) << "what was sent to there is announced again";
}

TEST_F(CheckedWalTest, ANewTimelineIsServedOnceThereIsMoreOfItThanTheCopy) {
  wal_.grow_to(segment(2) + 500'000);
  const auto fork = wal_.fork_point(segment(2) + 200'000);
  auto child = promote(wal_, fork, 2, 5);
  child.grow_to(segment(3));
  archive_.segments(wal_, 1, 2)
      .partial(wal_, segment(2) + 400'000)
      .history(2, history_line(1, fork));
  const auto directory = archive_.disk.open();
  archive_.partial(child, segment(2));
  auto served = find_served(*directory, kSize);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->timeline(), 1u);
  EXPECT_EQ(served->end, fork);  // and not what the old one has behind it
  archive_.partial(child, fork);
  EXPECT_EQ(find_served(*directory, kSize)->timeline(), 1u);
  const auto first = std::find_if(child.records().begin(), child.records().end(),
                                  [&](const auto& each) { return each.start >= fork; });
  archive_.partial(child, first->end);
  served = find_served(*directory, kSize);
  EXPECT_EQ(served->timeline(), 2u);
  EXPECT_EQ(served->end, first->end);
}

TEST_F(CheckedWalTest, BesideAWriterOnlyFinishedSegmentsCount) {
  wal_.grow_to(segment(3) + 500'000);
  const auto directory = archive_.disk.open();
  archive_.partial(wal_, segment(1) + 200'000);
  EXPECT_FALSE(find_served(*directory, kSize, Counts::finished));
  EXPECT_TRUE(find_served(*directory, kSize));

  archive_.segments(wal_, 1, 3).partial(wal_, segment(3) + 400'000);
  auto served = find_served(*directory, kSize, Counts::finished);
  ASSERT_TRUE(served);
  EXPECT_EQ(served->end, segment(3));
  // What is given of it are complete records.
  const auto given = read(segment(1), served->end);
  EXPECT_FALSE(given.trouble);
  EXPECT_EQ(segment(1) + given.wal.size(), wal_.complete_end(segment(3)));

  // A timeline that has nothing finished yet does not count, and its ancestor does up to the
  // segment with the switch.
  const auto fork = wal_.fork_point(segment(3) + 200'000);
  auto child = promote(wal_, fork, 2, 5);
  child.grow_to(segment(5));
  archive_.history(2, history_line(1, fork)).partial(child, segment(3) + 450'000);
  served = find_served(*directory, kSize, Counts::finished);
  EXPECT_EQ(served->timeline(), 1u);
  EXPECT_EQ(served->end, segment(3));
  archive_.segments(child, 3, 4);
  served = find_served(*directory, kSize, Counts::finished);
  EXPECT_EQ(served->timeline(), 2u);
  EXPECT_EQ(served->end, segment(4));
}

TEST_F(CheckedWalTest, AnEmptyArchiveHasNothing) {
  const auto directory = archive_.disk.open();
  EXPECT_FALSE(find_cluster(*directory));
  EXPECT_FALSE(find_served(*directory, kSize));
}

}  // namespace
}  // namespace weir::relay::checked_wal_test
