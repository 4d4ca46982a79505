#include "archive/wal_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "archive/forms.h"
#include "support/archive_builder.h"
#include "support/bytes.h"

namespace weir::archive::wal_reader_test {
namespace {

using codec::Method;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using verify::packed;
using wal::Lsn;
using State = WalSource::State;

constexpr Method kMethods[] = {Method::none, Method::gzip, Method::lz4, Method::zstd};

WalBuilder make_wal(std::uint64_t behind, unsigned switch_every = 400) {
  WalBuilder wal({.segment_size = kSize, .start = kSize.start(1), .switch_every = switch_every});
  wal.grow_to(kSize.start(behind));
  return wal;
}

struct Got {
  test::Bytes bytes;
  State ended = State::bytes;  ///< by what, before `end`
  std::string what;
};

/// In pieces, from `begin` on.
Got read_up_to(WalSource& source, Lsn begin, Lsn end, std::size_t piece = 100'000) {
  Got got;
  test::Bytes buffer(piece);
  for (auto at = begin; at < end;) {
    const auto read =
        source.read(at, std::span(buffer).first(std::min<std::uint64_t>(piece, end - at)));
    if (read.state != State::bytes) {
      got.ended = read.state;
      got.what = read.error ? read.error->what() : "";
      break;
    }
    EXPECT_GT(read.count, 0u);
    got.bytes.insert(got.bytes.end(), buffer.begin(),
                     buffer.begin() + static_cast<std::ptrdiff_t>(read.count));
    at = at + read.count;
  }
  return got;
}

test::Bytes expected(WalBuilder& wal, Lsn begin, Lsn end) {
  const auto bytes = wal.bytes(begin, end);
  return {bytes.begin(), bytes.end()};
}

TEST(WalReader, GivesTheSameBytesFromEveryForm) {
  auto wal = make_wal(9);
  ArchiveBuilder archive;
  for (std::uint64_t segno = 1; segno < 9; ++segno)
    archive.segments(wal, segno, segno + 1, kMethods[segno % 4]);
  const auto directory = archive.disk.open();
  const auto begin = kSize.start(1), end = kSize.start(9);
  for (const std::size_t piece :
       {std::size_t{8'192}, std::size_t{100'000}, std::size_t{5'000'000}}) {
    WalReader reader(*directory, {.segment_size = kSize});
    const auto got = read_up_to(reader, begin, end, piece);
    EXPECT_EQ(got.ended, State::bytes);
    EXPECT_EQ(got.bytes, expected(wal, begin, end));
  }
  // Anywhere, forwards and backwards.
  std::mt19937_64 random(test::seed_or(7));
  WalReader reader(*directory, {.segment_size = kSize});
  for (int i = 0; i < 60; ++i) {
    const auto at = begin + random() % (end - begin);
    const auto upto = std::min(end, at + (1 + random() % 60'000));
    EXPECT_EQ(read_up_to(reader, at, upto).bytes, expected(wal, at, upto)) << at.byte();
  }
}

TEST(WalReader, TakesEachSegmentFromTheTimelineThatARecoveryTakesItFrom) {
  auto parent = make_wal(6);
  const auto switchpoint = parent.fork_point(kSize.start(3) + 400'000);
  auto child = verify::promote(parent, switchpoint, 2, 5);
  child.grow_to(kSize.start(6));
  ArchiveBuilder archive;
  // What the old timeline went on with is of no concern.
  archive.segments(parent, 1, 5, Method::zstd).segments(child, 3, 6);
  const wal::TimelineHistory history = *wal::TimelineHistory::parse(
      2, fmt::format("1\t{}\tno recovery target specified\n", switchpoint));
  const auto directory = archive.disk.open();
  WalReader reader(*directory, {.segment_size = kSize, .timeline = 2, .history = history});
  EXPECT_EQ(read_up_to(reader, kSize.start(1), kSize.start(3)).bytes,
            expected(parent, kSize.start(1), kSize.start(3)));
  EXPECT_EQ(reader.file()->segment.timeline(), 1u);
  EXPECT_EQ(read_up_to(reader, kSize.start(3), kSize.start(6)).bytes,
            expected(child, kSize.start(3), kSize.start(6)));
  EXPECT_EQ(reader.file()->segment.timeline(), 2u);
}

TEST(WalReader, ReadsAnUnfinishedSegmentUpToWhatIsDurable) {
  auto wal = make_wal(5);
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3).partial(wal, kSize.start(3) + 700'000, ArchiveBuilder::Tail::old);
  const auto directory = archive.disk.open();
  std::optional<DurableEnd> durable = DurableEnd{1, kSize.start(3)};
  WalReader reader(*directory, {.segment_size = kSize, .unfinished = true, .durable_end = [&] {
                                  return durable;
                                }});
  const auto begin = kSize.start(2);
  EXPECT_EQ(read_up_to(reader, begin, kSize.start(4)).bytes, expected(wal, begin, kSize.start(3)));
  for (const std::uint64_t upto : {1u, 5'000u, 8'192u, 300'001u, 699'999u}) {
    durable->flush = kSize.start(3) + upto;
    const auto got = read_up_to(reader, begin, kSize.start(4), 60'000);
    EXPECT_EQ(got.ended, State::end);
    EXPECT_EQ(got.bytes, expected(wal, begin, durable->flush)) << upto;
  }
  // It is finished.
  archive.segments(wal, 3, 4);
  archive.disk.erase(ArchiveBuilder::name(wal, 3, Method::none, true));
  durable->flush = kSize.start(4) + 100;
  EXPECT_EQ(read_up_to(reader, begin, kSize.start(4)).bytes, expected(wal, begin, kSize.start(4)));
  const auto behind = read_up_to(reader, kSize.start(4), kSize.start(5));
  EXPECT_EQ(behind.ended, State::gone);
}

TEST(WalReader, DoesNotTakeTheZerosOfACollectedSegmentForWal) {
  auto wal = make_wal(5);
  for (const auto method : {Method::none, Method::zstd}) {
    ArchiveBuilder archive;
    archive.disk.put(ArchiveBuilder::name(wal, 3, Method::none, true), test::Bytes(kSize.bytes()));
    const auto directory = archive.disk.open();
    DurableEnd durable{1, kSize.start(3)};
    WalReader reader(*directory, {.segment_size = kSize, .unfinished = true, .durable_end = [&] {
                                    return std::optional(durable);
                                  }});
    EXPECT_EQ(read_up_to(reader, kSize.start(3), kSize.start(4)).ended, State::end);
    archive.segments(wal, 3, 4, method);  // and the other one is not removed yet
    durable.flush = kSize.start(4);
    EXPECT_EQ(read_up_to(reader, kSize.start(3), kSize.start(4)).bytes,
              expected(wal, kSize.start(3), kSize.start(4)));
  }
}

TEST(WalReader, LeavesUnfinishedSegmentsAloneUnlessToldOtherwise) {
  auto wal = make_wal(4);
  ArchiveBuilder archive;
  archive.partial(wal, kSize.start(3) + 700'000);
  const auto directory = archive.disk.open();
  WalReader finished(*directory, {.segment_size = kSize});
  EXPECT_EQ(read_up_to(finished, kSize.start(3), kSize.start(4)).ended, State::gone);
  WalReader all(*directory, {.segment_size = kSize, .unfinished = true});
  const auto got = read_up_to(all, kSize.start(3), kSize.start(3) + 700'000);
  EXPECT_EQ(got.bytes, expected(wal, kSize.start(3), kSize.start(3) + 700'000));
}

TEST(WalReader, ReadsOfACompressedUnfinishedSegmentWhatIsThere) {
  auto wal = make_wal(4);
  for (const auto method : {Method::gzip, Method::lz4}) {
    auto content = packed(method, ArchiveBuilder::content(wal, 3));
    content.resize(content.size() / 2);
    ArchiveBuilder archive;
    archive.disk.put(ArchiveBuilder::name(wal, 3, method, true), content);
    const auto directory = archive.disk.open();
    WalReader reader(*directory, {.segment_size = kSize, .unfinished = true});
    const auto got = read_up_to(reader, kSize.start(3), kSize.start(4));
    EXPECT_EQ(got.ended, State::end);
    // (lz4 gives whole blocks, here of the whole segment.)
    if (method == Method::gzip) {
      EXPECT_GT(got.bytes.size(), 50'000u);
    }
    EXPECT_EQ(got.bytes, expected(wal, kSize.start(3), kSize.start(3) + got.bytes.size()));
  }
}

/// Whatever becomes of the files between any two calls: the same WAL, and never gone.
/// A program that was killed leaves one beside another. "restore --partial" takes the farthest.
TEST(WalReader, ReadsOfSeveralUnfinishedFormsTheOneThatIsSoundTheFarthest) {
  auto wal = make_wal(5, 0);
  const auto start = kSize.start(3);
  const auto near = wal.complete_end(start + 200'000), far = wal.complete_end(start + 700'000);
  for (const auto raw : {start, near, far}) {
    SCOPED_TRACE(raw.to_string());
    const auto other = raw == far ? near : far;
    ArchiveBuilder archive;
    archive.segments(wal, 1, 3)
        .partial(wal, raw, raw == start ? ArchiveBuilder::Tail::none : ArchiveBuilder::Tail::zeros)
        .partial(wal, other, ArchiveBuilder::Tail::none, Method::zstd);
    const auto directory = archive.disk.open();
    WalReader reader(*directory, {.segment_size = kSize, .unfinished = true});
    EXPECT_EQ(read_up_to(reader, kSize.start(1), far).bytes, expected(wal, kSize.start(1), far));
    EXPECT_EQ(reader.unfinished_end(start)->records, far);
  }
}

struct Fork {
  Fork()
      : parent(make_wal(6, 0)),
        switchpoint(parent.fork_point(kSize.start(3) + 500'000)),
        child(verify::promote(parent, switchpoint, 2, 5)),
        history(*wal::TimelineHistory::parse(2, verify::history_line(1, switchpoint))) {
    child.grow_to(kSize.start(5));
  }
  WalBuilder parent;
  Lsn switchpoint;
  WalBuilder child;
  wal::TimelineHistory history;
};

TEST(WalReader, ReadsAnAncestorsFileUpToTheSwitchpointAsLongAsTheNewOneHasNotComeThere) {
  Fork fork;
  const auto start = kSize.start(3);
  const auto received = fork.parent.complete_end(start + 200'000);
  for (const bool finished : {false, true})
    for (const auto end : {start, received, fork.child.complete_end(start + 700'000)}) {
      SCOPED_TRACE(::testing::Message() << end.to_string() << ' ' << finished);
      ArchiveBuilder archive;
      archive.segments(fork.parent, 1, finished ? 4 : 3);
      if (!finished) archive.partial(fork.parent, fork.parent.complete_end(start + 900'000));
      archive.partial(fork.child, end,
                      end == start ? ArchiveBuilder::Tail::none : ArchiveBuilder::Tail::zeros);
      const auto directory = archive.disk.open();
      WalReader reader(
          *directory,
          {.segment_size = kSize, .timeline = 2, .history = fork.history, .unfinished = true});
      const auto there = std::max(end, fork.switchpoint);
      const auto got = read_up_to(reader, kSize.start(1), there);
      EXPECT_EQ(got.bytes, expected(fork.child, kSize.start(1), there));
      EXPECT_EQ(reader.file()->segment.timeline(), end > fork.switchpoint ? 2u : 1u);
      EXPECT_EQ(reader.unfinished_end(start)->records, there);
      test::Bytes more(8);
      EXPECT_EQ(reader.read(there, more).state, end > fork.switchpoint ? State::bytes : State::end);
    }
}

TEST(WalReader, GoesOnInTheNewTimelinesFileWhenThatHasComeToTheSwitchpoint) {
  Fork fork;
  const auto start = kSize.start(3);
  for (const bool finished : {false, true}) {
    ArchiveBuilder archive;
    archive.segments(fork.parent, 1, 4).partial(fork.child, start, ArchiveBuilder::Tail::none);
    const auto directory = archive.disk.open();
    WalReader reader(
        *directory,
        {.segment_size = kSize, .timeline = 2, .history = fork.history, .unfinished = true});
    auto got = read_up_to(reader, start, kSize.start(4));
    EXPECT_EQ(got.ended, State::end);
    EXPECT_EQ(got.bytes.size(), fork.switchpoint - start);
    const auto end = finished ? kSize.start(4) : fork.child.complete_end(start + 700'000);
    if (finished)
      archive.segments(fork.child, 3, 4);
    else
      archive.partial(fork.child, end);
    got = read_up_to(reader, fork.switchpoint, end);
    EXPECT_EQ(got.bytes, expected(fork.child, fork.switchpoint, end));
  }
}

/// What is not there may have been pruned, or never archived.
TEST(WalReader, ReadsAnAncestorsFileWhereTheSegmentItselfIsNotThereOnlyIfToldTo) {
  Fork fork;
  ArchiveBuilder archive;
  archive.segments(fork.parent, 1, 4);
  const auto directory = archive.disk.open();
  for (const bool alone : {false, true}) {
    WalReader reader(*directory, {.segment_size = kSize,
                                  .timeline = 2,
                                  .history = fork.history,
                                  .unfinished = true,
                                  .ancestors_alone = alone});
    const auto got = read_up_to(reader, kSize.start(3), kSize.start(4));
    EXPECT_EQ(got.ended, alone ? State::end : State::gone);
    EXPECT_EQ(got.bytes.size(), alone ? fork.switchpoint - kSize.start(3) : 0);
  }
}

TEST(WalReader, GoesOnWhileOthersFinishCompressAndConvert) {
  auto wal = make_wal(4);
  const auto name = [&](Method method, bool partial = false) {
    return ArchiveBuilder::name(wal, 2, method, partial);
  };
  const auto content = ArchiveBuilder::content(wal, 2);
  struct Form {
    Method method;
    bool partial;
  };
  const std::vector<std::vector<Form>> ways = {
      {{Method::none, true}, {Method::none, false}, {Method::zstd, false}},
      {{Method::none, false}, {Method::gzip, false}, {Method::zstd, false}},
      {{Method::lz4, false}, {Method::zstd, false}},
      {{Method::none, true}, {Method::gzip, false}},
  };
  for (std::size_t way = 0; way < ways.size(); ++way)
    for (const std::uint64_t apart : {1, 2, 5, 30})
      for (std::uint64_t first = 1;; ++first) {
        SCOPED_TRACE(fmt::format("way {}, from call {}, {} apart", way, first, apart));
        ArchiveBuilder archive;
        archive.segments(wal, 1, 2, Method::zstd).segments(wal, 3, 4);
        const auto& forms = ways[way];
        archive.disk.put(name(forms[0].method, forms[0].partial), packed(forms[0].method, content));
        std::size_t form = 0;
        archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
          if (form + 1 < forms.size() && call.number >= first + form * apart) {
            const auto old = name(forms[form].method, forms[form].partial);
            ++form;
            const auto& next = forms[form];
            archive.disk.put(name(next.method, next.partial), packed(next.method, content));
            archive.disk.erase(old);
          }
          return sim::SimDisk::Effect::proceed();
        });
        const auto directory = archive.disk.open();
        WalReader reader(*directory, {.segment_size = kSize, .unfinished = true});
        const auto got = read_up_to(reader, kSize.start(1), kSize.start(4), 300'000);
        ASSERT_EQ(got.ended, State::bytes) << got.what;
        ASSERT_EQ(got.bytes, expected(wal, kSize.start(1), kSize.start(4)));
        if (form == 0) break;
      }
}

TEST(WalReader, TellsWhatIsGoneAndSeesItAgain) {
  auto wal = make_wal(4);
  ArchiveBuilder archive;
  archive.segments(wal, 1, 2);
  const auto directory = archive.disk.open();
  WalReader reader(*directory, {.segment_size = kSize, .unfinished = true});
  const auto got = read_up_to(reader, kSize.start(1), kSize.start(4));
  EXPECT_EQ(got.ended, State::gone);
  EXPECT_EQ(got.bytes.size(), kSize.bytes());
  archive.segments(wal, 2, 4, Method::lz4);
  EXPECT_EQ(read_up_to(reader, kSize.start(2), kSize.start(4)).bytes,
            expected(wal, kSize.start(2), kSize.start(4)));
}

TEST(WalReader, TellsDamageUnlessAnotherFormIsSound) {
  auto wal = make_wal(4);
  const auto whole = ArchiveBuilder::content(wal, 2);
  for (const auto method : kMethods) {
    auto cut = packed(method, whole);
    cut.resize(cut.size() - 100);
    const test::Bytes shorter(whole.begin(), whole.end() - 8'192);
    auto longer = test::Bytes(whole.begin(), whole.end());
    longer.resize(longer.size() + 10);
    struct Case {
      const char* name;
      test::Bytes file;
    };
    for (const auto& c : {Case{"cut", cut}, Case{"a shorter content", packed(method, shorter)},
                          Case{"a longer content", packed(method, longer)}}) {
      SCOPED_TRACE(ArchiveBuilder::name(wal, 2, method) + ", " + c.name);
      ArchiveBuilder archive;
      archive.segments(wal, 1, 2).segments(wal, 3, 4);
      archive.disk.put(ArchiveBuilder::name(wal, 2, method), c.file);
      const auto directory = archive.disk.open();
      {
        WalReader reader(*directory, {.segment_size = kSize, .unfinished = true});
        const auto got = read_up_to(reader, kSize.start(1), kSize.start(4), 77'777);
        EXPECT_EQ(got.ended, State::damaged);
        EXPECT_LT(got.bytes.size(), 2 * kSize.bytes());
        EXPECT_EQ(got.bytes, expected(wal, kSize.start(1), kSize.start(1) + got.bytes.size()));
        EXPECT_THAT(got.what, ::testing::HasSubstr(ArchiveBuilder::name(wal, 2, method)));
      }
      const auto other = method == Method::zstd ? Method::gzip : Method::zstd;
      archive.segments(wal, 2, 3, other);
      WalReader reader(*directory, {.segment_size = kSize, .unfinished = true});
      EXPECT_EQ(read_up_to(reader, kSize.start(1), kSize.start(4), 77'777).bytes,
                expected(wal, kSize.start(1), kSize.start(4)));
    }
  }
}

/// The end of a .zst is a frame of its own.
TEST(WalReader, EntersAFileInTheMiddle) {
  auto wal = make_wal(4);
  ArchiveBuilder archive;
  archive.segments(wal, 2, 3, Method::zstd);
  const auto file = ArchiveBuilder::name(wal, 2, Method::zstd);
  const auto size = archive.disk.content(file).size();
  std::uint64_t bytes_read = 0;
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::read) bytes_read += call.bytes;
    return sim::SimDisk::Effect::proceed();
  });
  const auto directory = archive.disk.open();
  WalReader reader(*directory, {.segment_size = kSize});
  const auto end = kSize.start(3);
  const Lsn begin(end.byte() - 8'192);
  EXPECT_EQ(read_up_to(reader, begin, end).bytes, expected(wal, begin, end));
  EXPECT_LT(bytes_read, size / 2);
}

}  // namespace
}  // namespace weir::archive::wal_reader_test
