#include "archive/find_losses.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "archive/resume.h"
#include "support/archive_builder.h"

namespace weir::archive::find_losses_test {
namespace {

using codec::Method;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;
using wal::SegmentName;

WalBuilder::Options ordinary() {
  WalBuilder::Options options;
  options.switch_every = 0;
  options.abort_every = 0;
  return options;
}

/// Timeline 1 up to segment 9, left for timeline 2 in segment 5.
struct Failover {
  WalBuilder one{ordinary()};
  Lsn at;
  std::optional<WalBuilder> two;
  ArchiveBuilder archive;

  Failover() {
    one.grow_to(kSize.start(9));
    at = one.fork_point(kSize.start(5) + 400'000);
    two.emplace(verify::promote(one, at, 2, 9));
    two->grow_to(kSize.start(9));
    archive.segments(one, 1, 5, Method::zstd).segments(*two, 5, 7);
    archive.history(2, verify::history_line(1, at));
  }
  std::vector<Loss> found() {
    const auto directory = archive.disk.open();
    const auto listing = list_archive(*directory);
    return find_unrecorded_losses(*directory, listing, Timelines::read(*directory, listing), kSize,
                                  read_losses(*directory, listing));
  }
};

TEST(FindLosses, FindsWhatATimelineHasBehindItsFork) {
  struct Case {
    const char* name;
    std::uint64_t finished;  ///< segments of timeline 1 before this one
    std::uint64_t partial;   ///< behind the begin of that one; 0: none
    bool lost;
  };
  Failover example;
  const auto fork = example.at - kSize.start(5);
  for (const auto& c : {Case{"exactly the switchpoint", 5, fork, false},
                        Case{"not even that", 5, fork - 1000, false},
                        Case{"in the same segment", 5, fork + 400'000, true},
                        Case{"to the end of that segment", 6, 0, true},
                        Case{"in another segment", 7, 123'456, true}}) {
    SCOPED_TRACE(c.name);
    Failover failover;
    failover.archive.segments(failover.one, 5, c.finished, Method::zstd);
    const auto held = kSize.start(c.finished) + c.partial;
    if (c.partial > 0) failover.archive.partial(failover.one, held);
    const auto found = failover.found();
    ASSERT_THAT(found, SizeIs(c.lost ? 1 : 0));
    if (!c.lost) continue;
    EXPECT_EQ(found[0].kind, Loss::Kind::lost_branch);
    EXPECT_EQ(found[0].timeline, 1U);
    EXPECT_EQ(found[0].next_timeline, 2U);
    EXPECT_EQ(found[0].begin, failover.at);
    EXPECT_EQ(found[0].end, failover.one.complete_end(held));
    // Once recorded it is found no more.
    const auto directory = failover.archive.disk.open();
    record_loss(*directory, found[0]);
    EXPECT_THAT(failover.found(), IsEmpty());
  }
}

TEST(FindLosses, KnowsThatAFinishedSegmentMayEndWhereItsTimelineWasLeft) {
  Failover failover;
  failover.archive.partial(failover.one, failover.at);
  const auto name = wal::SegmentName(1, kSize.segno(failover.at), kSize).to_string();
  failover.archive.disk.open()->rename_no_replace(name + ".partial", name);
  EXPECT_THAT(failover.found(), IsEmpty());
}

TEST(FindLosses, FindsHolesOnEachWayOnce) {
  Failover failover;
  for (const auto segno : {2, 3, 6})
    for (const auto* form : {"", ".zst"})
      failover.archive.disk.erase(
          wal::SegmentName(segno == 6 ? 2 : 1, static_cast<std::uint64_t>(segno), kSize)
              .to_string() +
          form);
  failover.archive.segments(*failover.two, 7, 8);
  const auto found = failover.found();
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].id(), "hole-1-0-200000");
  EXPECT_EQ(found[0].end, kSize.start(4));
  EXPECT_EQ(found[1].id(), "hole-2-0-600000");

  // Of a larger hole only what no record has.
  Loss recorded = found[0];
  recorded.end = kSize.start(3);
  record_loss(*failover.archive.disk.open(), recorded);
  EXPECT_EQ(failover.found()[0].begin, kSize.start(3));
}

TEST(FindLosses, FindsWhatIsMissingBeforeUnfinishedSegments) {
  const std::string in5 = "1\t0/540000\tx\n";
  struct Hole {
    std::string id;
    std::uint64_t end;
    bool asked_for;
    bool operator==(const Hole&) const = default;
  };
  struct Case {
    const char* name;
    std::vector<std::string> files;  ///< "1:5.partial"; "-": an empty file
    std::vector<Hole> holes;
    std::string history{};  ///< of timeline 2
    std::optional<std::pair<std::uint64_t, std::uint64_t>> recorded{};
  };
  const std::string at = "hole-1-0-";
  const Case cases[] = {
      {"nothing but a .partial", {"1:4.partial"}, {}},
      {"the ordinary end", {"1:3", "1:4.partial"}, {}},
      {"two being received", {"1:3", "1:4.partial", "1:5.partial"}, {}},
      {"a compressed one", {"1:3", "1:4.gz.partial"}, {}},
      {"one is missing", {"1:3", "1:5.partial"}, {{at + "400000", 5, true}}},
      {"two are, in front of a row",
       {"1:3", "1:6.partial", "1:7.partial"},
       {{at + "400000", 6, true}}},
      {"in a row", {"1:3", "1:4.partial", "1:6.partial"}, {{at + "400000", 6, true}}},
      {"in a row that nothing precedes",
       {"1:4.partial", "1:6.partial"},
       {{at + "400000", 6, true}}},
      {"nothing in its file", {"1:3", "1:4.partial-", "1:5.partial"}, {{at + "400000", 5, true}}},
      {"at two places",
       {"1:3", "1:5.partial", "1:7.partial"},
       {{at + "400000", 5, true}, {at + "500000", 7, true}}},
      {"beside one between finished ones",
       {"1:1", "1:3", "1:5.partial"},
       {{at + "200000", 3, false}, {at + "400000", 5, true}}},
      {"recorded", {"1:3", "1:5.partial"}, {}, {}, {{4, 5}}},
      {"recorded, of another row",
       {"1:3", "1:5.partial", "1:7.partial"},
       {{at + "500000", 7, true}},
       {},
       {{4, 5}}},
      {"recorded, and streaming goes on behind that",
       {"1:3", "1:5.partial", "1:7.partial"},
       {{at + "400000", 5, false}},
       {},
       {{5, 7}}},
      {"a switch", {"1:4", "1:5.partial", "2:5.partial"}, {}, in5},
      {"before a switch", {"1:3", "2:5.partial"}, {{at + "400000", 5, false}}, in5},
      {"before a switch, unfinished",
       {"1:3", "1:4.partial", "2:5.partial"},
       {{at + "400000", 5, false}},
       in5},
      {"before a switch and behind it",
       {"1:3", "2:5.partial", "2:7.partial"},
       {{at + "400000", 5, false}, {"hole-2-0-500000", 7, true}},
       in5},
      {"behind a switch", {"1:4", "2:5", "2:7.partial"}, {{"hole-2-0-600000", 7, true}}, in5},
      {"from the switch on", {"1:4", "2:7.partial"}, {{"hole-2-0-500000", 7, false}}, in5},
      {"of an older timeline that ends",
       {"1:3", "1:5.partial", "2:9"},
       {{at + "400000", 5, false}},
       "rubbish"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    WalBuilder wal(ordinary());
    wal.grow_to(kSize.start(10));
    sim::SimDisk disk;
    for (const auto& file : c.files) {
      const auto segno = static_cast<std::uint64_t>(file[2] - '0');
      const bool is_empty = file.back() == '-';
      const auto name =
          wal::SegmentName(static_cast<wal::TimelineId>(file[0] - '0'), segno, kSize).to_string() +
          file.substr(3, file.size() - 3 - (is_empty ? 1 : 0));
      const auto bytes = wal.bytes(kSize.start(segno), kSize.start(segno + 1));
      disk.put(name, is_empty ? test::Bytes() : test::Bytes(bytes.begin(), bytes.end()));
    }
    if (!c.history.empty()) disk.put("00000002.history", test::as_bytes(c.history));
    const auto directory = disk.open();
    if (c.recorded) {
      Loss loss;
      loss.timeline = loss.next_timeline = 1;
      loss.begin = loss.sound_end = loss.counted_to = kSize.start(c.recorded->first);
      loss.end = kSize.start(c.recorded->second);
      loss.segment_size = kSize;
      record_loss(*directory, loss);
    }
    const auto listing = list_archive(*directory);
    const auto recorded = read_losses(*directory, listing);
    const auto found = find_holes(listing, Timelines::read(*directory, listing), kSize, recorded);
    std::vector<Hole> holes;
    for (const auto& loss : found) {
      const bool asked_for = is_asked_for_at_a_start(loss, listing, kSize, recorded);
      holes.push_back({loss.id(), kSize.segno(loss.end), asked_for});
      EXPECT_EQ(loss.cause.find("asks the server") != std::string::npos, asked_for) << loss.cause;
    }
    EXPECT_EQ(holes, c.holes);
    // As a receiver goes on. (A finished segment of timeline 2 is none here by its content.)
    if (std::any_of(c.files.begin(), c.files.end(),
                    [](const auto& file) { return file.starts_with("2:") && file.size() == 3; }))
      continue;
    const auto resume = find_resume_point(*directory, listing, kSize);
    ASSERT_TRUE(resume);
    for (const auto& loss : found)
      EXPECT_EQ(is_asked_for_at_a_start(loss, listing, kSize, recorded),
                loss.timeline == resume->timeline && loss.begin >= resume->start);
  }
}

TEST(FindLosses, HidesNoHoleBehindOneOfAnotherBranch) {
  struct Recorded {
    wal::TimelineId timeline, next;
    std::uint64_t first, behind;
  };
  struct Case {
    const char* name;
    std::vector<std::string> files;  ///< "1:5"
    std::map<wal::TimelineId, std::string> histories;
    std::optional<Recorded> recorded;
    std::vector<std::string> holes;
  };
  const std::string in4 = "1\t0/440000\tx\n";
  const Case cases[] = {
      {"its own",
       {"1:3", "2:4", "2:8", "3:4", "3:8"},
       {{2, in4}, {3, in4}},
       Recorded{2, 2, 5, 8},
       {"hole-3-0-500000 to 8"}},
      {"a shorter one",
       {"1:3", "2:4", "2:8", "3:4", "3:5", "3:7", "3:8"},
       {{2, in4}, {3, in4}},
       Recorded{2, 2, 5, 8},
       {"hole-3-0-600000 to 7"}},
      {"of the ancestor that was left",
       {"1:3", "1:8", "2:4", "2:8"},
       {{2, in4}},
       Recorded{1, 1, 4, 8},
       {"hole-2-0-500000 to 8"}},
      {"of a descendant",
       {"1:3", "2:4", "2:8", "3:9"},
       {{2, in4}, {3, in4 + "2\t0/940000\tx\n"}},
       Recorded{2, 2, 5, 8},
       {}},
      {"over a switch",
       {"1:2", "2:6", "3:8"},
       {{2, in4}, {3, in4 + "2\t0/740000\tx\n"}},
       Recorded{1, 2, 3, 6},
       {"hole-3-0-700000 to 8"}},
      {"over a switch to another branch",
       {"1:2", "2:6", "3:6"},
       {{2, in4}, {3, in4}},
       Recorded{1, 2, 3, 6},
       {"hole-3-0-400000 to 6"}},
      {"from a switch on, by the timeline before it",
       {"1:3", "2:6"},
       {{2, in4}},
       Recorded{1, 2, 4, 6},
       {}},
      {"over a switch that the archive has only the next history of",
       {"1:2", "2:6", "3:7"},
       {{3, in4 + "2\t0/740000\tx\n"}},
       Recorded{1, 2, 3, 6},
       {}},
      {"over a switch, without any history",
       {"1:2", "2:6", "2:8", "3:4", "3:6"},
       {},
       Recorded{1, 2, 3, 8},
       {"hole-3-0-500000 to 6"}},
      {"not recorded, from the same place on",
       {"1:2", "2:6", "3:7"},
       {{2, in4}, {3, in4}},
       {},
       {"hole-1-0-300000 to 6", "hole-3-0-400000 to 7"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    sim::SimDisk disk;
    for (const auto& file : c.files)
      disk.put(wal::SegmentName(static_cast<wal::TimelineId>(file[0] - '0'),
                                static_cast<std::uint64_t>(file[2] - '0'), kSize)
                   .to_string(),
               test::Bytes(kSize.bytes()));
    for (const auto& [timeline, text] : c.histories)
      disk.put(wal::history_name(timeline), test::as_bytes(text));
    const auto directory = disk.open();
    if (c.recorded) {
      Loss loss;
      loss.timeline = c.recorded->timeline;
      loss.next_timeline = c.recorded->next;
      loss.begin = loss.sound_end = loss.counted_to = kSize.start(c.recorded->first);
      loss.end = kSize.start(c.recorded->behind);
      loss.segment_size = kSize;
      record_loss(*directory, loss);
    }
    const auto holes = [&] {
      const auto listing = list_archive(*directory);
      return find_holes(listing, Timelines::read(*directory, listing), kSize,
                        read_losses(*directory, listing));
    };
    std::vector<std::string> found;
    for (const auto& loss : holes())
      found.push_back(fmt::format("{} to {}", loss.id(), kSize.segno(loss.end)));
    EXPECT_EQ(found, c.holes);
    for (const auto& loss : holes()) record_loss(*directory, loss);
    EXPECT_THAT(holes(), IsEmpty());
  }
}

TEST(FindLosses, FindsTheEndWhereNoRecordBeginsInTheLastSegment) {
  WalBuilder wal(ordinary());
  wal.grow_to(kSize.start(2));
  while (wal.end() + 200'000 < kSize.start(4)) wal.append_random(50'000);
  const auto record = wal.append_random(900'000);  // over the border of segment 4
  const auto start = record.start;
  const auto end = record.end;
  ASSERT_LT(start, kSize.start(4));
  ASSERT_GT(end, kSize.start(4));
  for (const bool whole : {true, false}) {
    SCOPED_TRACE(whole);
    ArchiveBuilder archive;
    archive.segments(wal, 1, 4).partial(wal, whole ? end : Lsn(end.byte() - 1000));
    const auto directory = archive.disk.open();
    EXPECT_EQ(sound_end(*directory, list_archive(*directory), 1, kSize.start(4), kSize),
              whole ? end : start)
        << "a record that is not complete is no loss";
  }
}

/// Records longer than a segment, and segments that an xlog switch leaves empty, wherever the WAL
/// ends and the archive begins.
TEST(FindLosses, FindsTheEndOfWalWithLongRecordsAndManySwitches) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    WalBuilder::Options options;
    options.seed = seed;
    options.switch_every = 6;
    options.abort_every = seed % 2 == 0 ? 12 : 0;
    options.large_every = 4;
    options.large_body = 2'500'000;
    WalBuilder wal(options);
    wal.grow_to(kSize.start(6));
    std::vector<Lsn> ends;
    for (const auto& record : wal.records())
      for (const auto at : {record.start + 40, record.end})
        if (at > kSize.start(1) && at < kSize.start(6)) ends.push_back(at);
    for (std::uint64_t segno = 2; segno < 6; ++segno) ends.push_back(kSize.start(segno));
    const auto method = seed % 4 == 3 ? Method::lz4 : Method::none;
    for (const auto end : ends) {
      const auto last = kSize.segno(Lsn(end.byte() - 1));
      ArchiveBuilder archive;
      archive.segments(wal, 1, last, method);
      std::vector<std::byte> bytes(kSize.bytes());
      const auto written = wal.bytes(kSize.start(last), end);
      std::copy(written.begin(), written.end(), bytes.begin());
      archive.disk.put(SegmentName(1, last, kSize).to_string() + ".partial", bytes);
      const auto record = std::find_if(
          wal.records().rbegin(), wal.records().rend(), [&](const WalBuilder::Record& each) {
            return each.end <= end && each.kind != WalBuilder::Kind::aborted;
          });
      if (record == wal.records().rend()) continue;
      const auto directory = archive.disk.open();
      // Of a record that began before the archive did nobody can tell.
      for (std::uint64_t first = 1; first <= kSize.segno(record->start); ++first) {
        const auto listing = list_archive(*directory);
        for (const auto from : {first, last}) {
          SCOPED_TRACE(fmt::format("seed {}, WAL to {}, archive from segment {}, asked from {}",
                                   seed, end, first, from));
          const auto found = sound_end(*directory, listing, 1, kSize.start(from), kSize);
          EXPECT_GE(found, wal.complete_end(end));
          EXPECT_LE(found, kSize.start(last + 1));
        }
        archive.disk.erase(ArchiveBuilder::name(wal, first, method));
      }
    }
  }
}

/// An archive that began on a timeline that was left before that: seed 839265 of eb9f749 recorded a
/// loss of WAL, and named a file, that it had never had.
TEST(FindLosses, FindsNoEndWhereTheArchiveBeginsWithPartOfARecord) {
  WalBuilder wal(ordinary());
  wal.grow_to(kSize.start(6));
  const auto end_of = [&](ArchiveBuilder& archive) {
    const auto directory = archive.disk.open();
    return archived_end(*directory, list_archive(*directory), 1, kSize.start(4), kSize);
  };
  ArchiveBuilder begins_there;
  begins_there.partial(wal, kSize.start(4) + 41);  // behind the page header, or within a record
  EXPECT_EQ(end_of(begins_there), std::nullopt);
  const auto complete = wal.complete_end(kSize.start(4) + 300'000);
  begins_there.partial(wal, kSize.start(4) + 300'000);
  EXPECT_EQ(end_of(begins_there), complete);
  ArchiveBuilder has_some_before;
  has_some_before.segments(wal, 3, 4).partial(wal, kSize.start(4) + 41);
  EXPECT_EQ(end_of(has_some_before), wal.complete_end(kSize.start(4) + 41));
}

TEST(FindLosses, FindsTheEndInTheUnfinishedFormThatGoesFurthest) {
  WalBuilder wal(ordinary());
  wal.grow_to(kSize.start(4));
  const auto near = wal.append_random(1'000).end;
  const auto far = wal.append_random(1'000).end;
  ASSERT_EQ(kSize.segno(far), 4U);
  const auto end_of = [&](ArchiveBuilder& archive) {
    const auto directory = archive.disk.open();
    return sound_end(*directory, list_archive(*directory), 1, kSize.start(4), kSize);
  };
  using Tail = ArchiveBuilder::Tail;
  ArchiveBuilder stock;  // as pg_receivewal leaves it
  stock.segments(wal, 1, 4).partial(wal, far, Tail::zeros, Method::gzip);
  EXPECT_EQ(end_of(stock), far);
  ArchiveBuilder begun_again;
  begun_again.segments(wal, 1, 4).partial(wal, far, Tail::zeros, Method::gzip).partial(wal, near);
  EXPECT_EQ(end_of(begun_again), far);
  ArchiveBuilder gone_on;
  gone_on.segments(wal, 1, 4).partial(wal, near, Tail::zeros, Method::lz4).partial(wal, far);
  EXPECT_EQ(end_of(gone_on), far);
}

}  // namespace
}  // namespace weir::archive::find_losses_test
