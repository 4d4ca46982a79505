#include "status/ends.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/archive_builder.h"

namespace weir::status::ends_test {
namespace {

using codec::Method;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

/// The builder writes every record in the name of this transaction.
constexpr std::uint32_t kTransaction = 740;

/// Random records with a commit in every so many of them, over `segments` segments.
struct Story {
  Story(std::uint64_t segments, unsigned every) : wal({.switch_every = 0}) {
    std::int64_t time = 800'000'000'000'000;
    for (unsigned count = 1; wal.end() < kSize.start(1 + segments); ++count) {
      if (count % every != 0) {
        wal.append_random(300);
        continue;
      }
      test::Bytes body(2 + 8);
      body[0] = std::byte{255};
      body[1] = std::byte{8};
      time += 1'000'000;
      std::memcpy(body.data() + 2, &time, sizeof(time));
      const auto record = wal.append(1, 0x00, body);
      commits.push_back({record.start, record.end, kTransaction, {time}});
    }
  }
  testing::WalBuilder wal;
  std::vector<wal::Commit> commits;

  const wal::Commit& last_before(Lsn lsn) const {
    return *std::prev(std::find_if(commits.begin(), commits.end(),
                                   [&](const auto& commit) { return commit.end > lsn; }));
  }
};

Ends ends_of(ArchiveBuilder& builder, std::uint64_t& budget,
             std::span<const Lsn> behind_holes = {}) {
  const auto directory = builder.disk.open();
  const auto listing = archive::list_archive(*directory);
  return read_ends(*directory, listing.segments, kSize,
                   archive::Timelines::read(*directory, listing), budget, behind_holes);
}

std::uint64_t plenty = std::uint64_t{1} << 40;

TEST(Ends, AreFoundInEveryForm) {
  Story story(5, 40);
  for (const auto method : {Method::none, Method::gzip, Method::lz4, Method::zstd}) {
    SCOPED_TRACE(codec::suffix(method));
    ArchiveBuilder builder;
    builder.segments(story.wal, 1, 5, method);
    const auto ends = ends_of(builder, plenty);
    EXPECT_EQ(ends.first, story.commits.front());
    EXPECT_EQ(ends.last, story.last_before(kSize.start(5)));
    EXPECT_EQ(ends.end, story.wal.complete_end(kSize.start(5)));
  }
}

TEST(Ends, AreFoundInAPartialWhateverStandsBehindItsEnd) {
  Story story(5, 40);
  for (const auto tail :
       {ArchiveBuilder::Tail::none, ArchiveBuilder::Tail::zeros, ArchiveBuilder::Tail::old})
    for (const std::uint64_t offset : {100u, 8'192u, 300'000u, 1'040'000u}) {
      SCOPED_TRACE(::testing::Message() << static_cast<int>(tail) << ' ' << offset);
      const auto end = story.wal.complete_end(kSize.start(4) + offset);
      ArchiveBuilder builder;
      builder.segments(story.wal, 1, 4);
      builder.partial(story.wal, std::max(end, kSize.start(4) + 40), tail);
      const auto ends = ends_of(builder, plenty);
      EXPECT_EQ(ends.last, story.last_before(end));
      EXPECT_EQ(ends.end, end);
    }
}

/// What a kill leaves of a segment that is written in pieces, by jobs that overlap.
TEST(Ends, AreBeforeAPieceThatWasNotWritten) {
  const auto size = *wal::SegmentSize::of(64 << 20);
  testing::WalBuilder wal({.segment_size = size,
                           .start = size.start(1),
                           .switch_every = 0,
                           .abort_every = 0,
                           .large_every = 1,
                           .large_body = 60'000});
  constexpr std::uint64_t kPiece = std::uint64_t{16} << 20;
  const auto start = size.start(1);
  std::optional<wal::Commit> first;
  for (std::int64_t time = 800'000'000'000'000; wal.end() < start + 41 * (kPiece / 16);
       time += 1'000'000) {
    wal.append_random(400'000);
    test::Bytes body(2 + 8);
    body[0] = std::byte{255};
    body[1] = std::byte{8};
    std::memcpy(body.data() + 2, &time, sizeof(time));
    const auto record = wal.append(1, 0x00, body);
    if (!first) first = wal::Commit{record.start, record.end, kTransaction, {time}};
  }
  const auto all = wal.bytes(start, start + 40 * (kPiece / 16));
  struct Case {
    const char* name;
    std::uint64_t begin;  ///< of what is missing
    std::uint64_t end;
  };
  for (const auto& c :
       {Case{"the end of the first piece", kPiece / 4, kPiece}, Case{"a piece", kPiece, 2 * kPiece},
        Case{"nearly nothing", 2 * kPiece - wal::kPageSize, 2 * kPiece},
        Case{"all but the last one", 512 * 1024, 2 * kPiece}}) {
    SCOPED_TRACE(c.name);
    test::Bytes bytes(all.begin(), all.end());
    bytes.resize(size.bytes());
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(c.begin),
              bytes.begin() + static_cast<std::ptrdiff_t>(c.end), std::byte{0});
    sim::SimDisk disk;
    disk.put("000000010000000000000001.partial", bytes);
    const auto directory = disk.open();
    const auto listing = archive::list_archive(*directory);
    const auto ends = read_ends(*directory, listing.segments, size, {}, plenty);
    EXPECT_EQ(ends.end, wal.complete_end(start + c.begin));
    ASSERT_TRUE(ends.last);
    EXPECT_LT(ends.last->end, start + c.begin + 1);
    EXPECT_EQ(ends.first, first);
  }
}

/// Several unfinished segments in a row: a recovery passes those that are whole.
TEST(Ends, AreInTheFirstUnfinishedSegmentThatIsNotWhole) {
  Story story(5, 40);
  story.wal.grow_to(kSize.start(7));
  WalBuilder switched({.switch_every = 0});
  switched.grow_to(kSize.start(4) + 300'000);
  switched.append_switch();
  switched.grow_to(kSize.start(7));
  struct Case {
    const char* name;
    WalBuilder& wal;
    std::uint64_t written;  ///< of segment 4
    bool passes;
  };
  for (const auto& c :
       {Case{"whole", story.wal, kSize.bytes(), true},
        Case{"not to its end", story.wal, kSize.bytes() - wal::kPageSize, false},
        Case{"ends early", story.wal, 300'000, false}, Case{"nothing in it", story.wal, 0, false},
        Case{"behind a switch", switched, 400'000, true}}) {
    SCOPED_TRACE(c.name);
    ArchiveBuilder builder;
    builder.segments(c.wal, 1, 4);
    const auto content = ArchiveBuilder::content(c.wal, 4);
    test::Bytes bytes(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(c.written));
    bytes.resize(kSize.bytes());
    builder.disk.put(ArchiveBuilder::name(c.wal, 4, Method::none, true), bytes);
    builder.partial(c.wal, c.wal.complete_end(kSize.start(5) + 200'000));
    const auto end = kSize.start(c.passes ? 5 : 4) + (c.passes ? 200'000 : c.written);
    EXPECT_EQ(ends_of(builder, plenty).end, c.wal.complete_end(end));
    const Lsn behind_hole[] = {kSize.start(5)};
    EXPECT_EQ(ends_of(builder, plenty, behind_hole).end,
              c.wal.complete_end(kSize.start(5) + 200'000));
  }
}

/// A recovery with --partial replays it.
TEST(Ends, AreAtTheEndOfARecordThatBeginsBeforeTheSegment) {
  WalBuilder wal({.switch_every = 0});
  wal.grow_to(Lsn(kSize.start(4).byte() - 10'000));
  const auto end = wal.append_random(30'000).end;
  ASSERT_GT(end, kSize.start(4));
  wal.grow_to(kSize.start(5));
  for (const auto method : {Method::none, Method::zstd}) {
    ArchiveBuilder builder;
    builder.segments(wal, 1, 4).partial(wal, end, ArchiveBuilder::Tail::none, method);
    EXPECT_EQ(ends_of(builder, plenty).end, end);
    builder.partial(wal, end + 8, ArchiveBuilder::Tail::zeros);
    EXPECT_EQ(ends_of(builder, plenty).end, end);
  }
}

/// Whatever a kill has left of the segments before the hole.
TEST(Ends, AreBehindAHoleThatIsKnown) {
  Story story(8, 40);
  ArchiveBuilder builder;
  builder.segments(story.wal, 1, 4);
  const auto end_in = [&](std::uint64_t segno) {
    return story.wal.complete_end(kSize.start(segno) + 200'000);
  };
  for (const std::uint64_t segno : {4, 5, 7}) builder.partial(story.wal, end_in(segno));
  const Lsn behind_hole[] = {kSize.start(7)};
  EXPECT_EQ(ends_of(builder, plenty, behind_hole).end, end_in(7));
  builder.partial(story.wal, end_in(8));
  EXPECT_EQ(ends_of(builder, plenty, behind_hole).end, end_in(7));
}

TEST(Ends, GoBackToTheSegmentWithTheLastCommit) {
  Story story(5, 2000);
  ArchiveBuilder builder;
  builder.segments(story.wal, 1, 5);
  const auto ends = ends_of(builder, plenty);
  EXPECT_EQ(ends.first, story.commits.front());
  EXPECT_EQ(ends.last, story.last_before(kSize.start(5)));
}

TEST(Ends, KeepToTheBudget) {
  Story story(5, 40);
  ArchiveBuilder builder;
  builder.segments(story.wal, 1, 5, Method::zstd);
  std::uint64_t little = kSize.bytes() / 2;
  const auto ends = ends_of(builder, little);
  EXPECT_EQ(ends.last, std::nullopt);
  std::uint64_t for_the_last = kSize.bytes();
  EXPECT_EQ(ends_of(builder, for_the_last).last, story.last_before(kSize.start(5)));
  EXPECT_EQ(for_the_last, 0u);
}

TEST(Ends, StayOpenWhereTheFilesAreBroken) {
  Story story(5, 40);
  ArchiveBuilder builder;
  builder.segments(story.wal, 1, 5, Method::zstd);
  for (std::uint64_t segno = 1; segno < 5; ++segno)
    builder.disk.put(ArchiveBuilder::name(story.wal, segno, Method::zstd),
                     test::as_bytes("rubbish"));
  const auto ends = ends_of(builder, plenty);
  EXPECT_EQ(ends.first, std::nullopt);
  EXPECT_EQ(ends.last, std::nullopt);
  EXPECT_FALSE(ends.end.valid());
}

TEST(Ends, CountOnlyTheCommitsOfTheTimelineItself) {
  Story story(3, 40);
  const auto fork = story.wal.fork_point(kSize.start(2) + 500'000);
  auto child = verify::promote(story.wal, fork, 2, 9);
  child.grow_to(kSize.start(4));
  test::Bytes body(2 + 8);
  body[0] = std::byte{255};
  body[1] = std::byte{8};
  const auto record = child.append(1, 0x00, body);
  child.grow_to(kSize.start(6));
  ArchiveBuilder builder;
  builder.segments(child, 2, 6).history(2, verify::history_line(1, fork));
  const auto ends = ends_of(builder, plenty);
  ASSERT_TRUE(ends.first);
  EXPECT_GE(ends.first->start, fork);
  EXPECT_LE(ends.first->start, record.start);
}

/// A recovery takes the form that is sound the farthest.
TEST(Ends, AreThoseOfTheUnfinishedFormThatIsSoundTheFarthest) {
  Story story(5, 40);
  const auto start = kSize.start(4);
  const auto near = story.wal.complete_end(start + 200'000);
  const auto far = story.wal.complete_end(start + 700'000);
  for (const auto raw : {start, near, far}) {
    SCOPED_TRACE(raw.to_string());
    ArchiveBuilder builder;
    builder.segments(story.wal, 1, 4)
        .partial(story.wal, raw,
                 raw == start ? ArchiveBuilder::Tail::none : ArchiveBuilder::Tail::zeros)
        .partial(story.wal, raw == far ? near : far, ArchiveBuilder::Tail::none, Method::zstd);
    const auto ends = ends_of(builder, plenty);
    EXPECT_EQ(ends.end, far);
    EXPECT_EQ(ends.last, story.last_before(far));
  }
}

/// A recovery takes the ancestor's file then.
TEST(Ends, AreAtTheSwitchpointAsLongAsTheNewTimelinesFileHasNotComeThere) {
  Story story(5, 40);
  const auto start = kSize.start(4);
  const auto fork = story.wal.fork_point(start + 500'000);
  auto child = verify::promote(story.wal, fork, 2, 9);
  child.grow_to(kSize.start(5));
  for (const bool finished : {false, true})
    for (const auto received : {start, story.wal.complete_end(start + 200'000)}) {
      SCOPED_TRACE(::testing::Message() << received.to_string() << ' ' << finished);
      ArchiveBuilder builder;
      builder
          .partial(child, received,
                   received == start ? ArchiveBuilder::Tail::none : ArchiveBuilder::Tail::zeros)
          .history(2, verify::history_line(1, fork));
      const auto directory = builder.disk.open();
      const auto of_the_new = archive::list_archive(*directory);
      if (finished)
        builder.segments(story.wal, 4, 5);
      else
        builder.partial(story.wal, story.wal.complete_end(start + 900'000));
      const auto ends = read_ends(*directory, of_the_new.segments, kSize,
                                  archive::Timelines::read(*directory, of_the_new), plenty);
      EXPECT_EQ(ends.end, fork);
    }
}

/// Its file is empty, and the WAL before the switchpoint is in the parent's. At any call it may be
/// written to, or completed: then its name is gone, or its end is found. (Seed 488779 of 0dbd19d6.)
TEST(Ends, AreNotOverlookedInAFileThatIsWrittenToMeanwhile) {
  Story story(5, 40);
  const auto start = kSize.start(4);
  const auto fork = story.wal.fork_point(start + 500'000);
  auto child = verify::promote(story.wal, fork, 2, 9);
  child.grow_to(kSize.start(5));
  bool changed = true;
  for (int call = 1; changed; ++call) {
    SCOPED_TRACE(call);
    const bool completed = call % 2 == 0;
    ArchiveBuilder builder;
    builder.partial(child, start, ArchiveBuilder::Tail::none)
        .history(2, verify::history_line(1, fork))
        .partial(story.wal, story.wal.complete_end(start + 900'000));
    const auto directory = builder.disk.open();
    auto listing = archive::list_archive(*directory);
    const auto timelines = archive::Timelines::read(*directory, listing);
    std::erase_if(listing.segments,
                  [](const auto& entry) { return entry.name.segment.timeline() != 2; });
    ASSERT_EQ(listing.segments.size(), 1u);
    int calls = 0;
    changed = false;
    builder.disk.set_hook([&](const sim::SimDisk::Call&) {
      if (!changed && ++calls == (call + 1) / 2) {
        changed = true;
        if (completed) builder.segments(child, 4, 5);
        builder.disk.open()->remove(listing.segments.front().name.to_string());
        if (!completed) builder.partial(child, child.complete_end(fork + 200'000));
      }
      return sim::SimDisk::Effect::proceed();
    });
    const auto ends = read_ends(*directory, listing.segments, kSize, timelines, plenty);
    EXPECT_TRUE(ends.moved || ends.end >= fork);
  }
}

}  // namespace
}  // namespace weir::status::ends_test
