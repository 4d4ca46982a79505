#include "archive/resume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <utility>

#include "archive/compress.h"
#include "archive/identity.h"
#include "archive/losses.h"
#include "archive/own_names.h"
#include "archive/segment_reader.h"
#include "archive/segment_writer.h"
#include "base/error.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/just_changed.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::archive::resume_test {
namespace {

using sim::SimDisk;
using test::Bytes;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wal::Lsn;
using wal::SegmentName;
using weir::testing::WalBuilder;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

std::string name(std::uint64_t segno, const char* suffix = "", wal::TimelineId timeline = 1) {
  return SegmentName(timeline, segno, kSize).to_string() + suffix;
}

Bytes compressed(const Bytes& raw, codec::Method method) {
  Bytes out;
  const codec::PackedSink sink = [&](auto bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  const auto compressor = codec::make_compressor({method, 1}, raw.size());
  compressor->feed(raw, sink);
  compressor->finish(sink);
  return out;
}

std::optional<ResumePoint> resume(SimDisk& disk) {
  const auto directory = disk.open();
  const auto before = disk.names();
  const auto point = find_resume_point(*directory, list_archive_names(*directory), kSize);
  EXPECT_EQ(disk.names(), before);
  return point;
}

/// WAL of segments 1 to 9, in which records cross every border.
WalBuilder& stream() {
  static WalBuilder builder = [] {
    WalBuilder::Options options;
    options.switch_every = 0;
    options.abort_every = 0;
    WalBuilder wal(options);
    wal.grow_to(kSize.start(10));
    return wal;
  }();
  return builder;
}

/// The front of a segment, zeros behind it up to full size.
Bytes segment(std::uint64_t segno, std::uint64_t written = kSize.bytes()) {
  const auto bytes = stream().bytes(kSize.start(segno), kSize.start(segno) + written);
  Bytes content(bytes.begin(), bytes.end());
  content.resize(kSize.bytes());
  return content;
}

TEST(ResumePoint, IsNoneWithoutASegment) {
  SimDisk disk;
  EXPECT_FALSE(resume(disk));
  disk.put("00000002.history", test::bytes_of("1\t0/3000158\tx\n"));
  disk.put(name(1, ".00000028.backup"), {});
  disk.put(".pgweir-spare", Bytes(kSize.bytes()));
  EXPECT_FALSE(resume(disk));
}

TEST(ResumePoint, FollowsFromTheNamesOfTheNewestTimeline) {
  const Bytes full(kSize.bytes());
  using Hole = ResumePoint::Hole;
  struct Case {
    const char* what;
    std::vector<std::string> files;
    std::uint64_t start;
    std::vector<std::uint64_t> open;
    std::vector<Hole> holes;
    wal::TimelineId timeline = 1;
  };
  const auto hole = [](std::uint64_t begin, std::uint64_t end) {
    return Hole{kSize.start(begin), kSize.start(end)};
  };
  const std::vector<Case> cases = {
      {"one finished", {name(3)}, 4, {}, {}},
      {"several finished", {name(3), name(4), name(5)}, 6, {}, {}},
      {"one unfinished", {name(3, ".partial")}, 3, {3}, {}},
      {"finished and the next", {name(3), name(4, ".partial")}, 4, {4}, {}},
      {"two trailing", {name(3), name(4, ".partial"), name(5, ".partial")}, 4, {4, 5}, {}},
      {"two and nothing else", {name(4, ".partial"), name(5, ".partial")}, 4, {4, 5}, {}},
      {"unfinished behind a missing one", {name(3), name(5, ".partial")}, 4, {5}, {}},
      {"unfinished with one missing between",
       {name(4, ".partial"), name(6, ".partial")},
       4,
       {4, 6},
       {}},
      {"a hole", {name(3), name(5), name(6)}, 7, {}, {hole(4, 5)}},
      {"two holes", {name(3), name(6), name(9)}, 10, {}, {hole(4, 6), hole(7, 9)}},
      {"unfinished below finished", {name(3), name(4, ".partial"), name(5)}, 6, {}, {hole(4, 5)}},
      {"unfinished below all", {name(3, ".partial"), name(4)}, 5, {}, {hole(3, 4)}},
      {"finished and unfinished form", {name(3), name(3, ".partial")}, 4, {}, {}},
      {"compressed unfinished", {name(3), name(4, ".gz.partial")}, 4, {}, {}},
      {"compressed unfinished only", {name(4, ".lz4.partial")}, 4, {}, {}},
      {"both unfinished forms", {name(4, ".gz.partial"), name(4, ".partial")}, 4, {4}, {}},
      {"newest timeline", {name(3), name(4, ".partial"), name(4, "", 2)}, 5, {}, {}, 2},
      {"newest timeline, unfinished", {name(9), name(4, ".partial", 2)}, 4, {4}, {}, 2},
      {"holes of old timelines are not its own", {name(3), name(9), name(9, "", 3)}, 10, {}, {}, 3},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    SimDisk disk;
    for (const auto& file : c.files) {
      const auto finished = SegmentName::parse(file);
      disk.put(file, finished ? segment(finished->segno(kSize)) : full);
    }
    const auto point = resume(disk);
    ASSERT_TRUE(point);
    EXPECT_EQ(point->timeline, c.timeline);
    EXPECT_EQ(point->start, kSize.start(c.start));
    EXPECT_EQ(point->holes, c.holes);
    std::vector<std::uint64_t> open;
    for (const auto& segment : point->open) open.push_back(kSize.segno(segment.start));
    EXPECT_EQ(open, c.open);
  }
}

TEST(ResumePoint, IsRefusedBehindAFinishedSegmentThatIsNoWalToItsEnd) {
  // What "cp" from a pg_wal brings: the segment that was being written, zeros or old WAL behind its
  // end, and files that the server has given the names of segments to come.
  Bytes over_old = segment(5, 700'000);
  const Bytes old = segment(4);
  std::copy(old.begin() + 704'512, old.end(), over_old.begin() + 704'512);
  struct Case {
    const char* what;
    Bytes content;
    bool begun = true;
  };
  const Case cases[] = {{"ends early", segment(5, 700'000)},
                        {"ends early, by a page", segment(5, kSize.bytes() - 8'192)},
                        {"old WAL behind its end", over_old},
                        {"an old file under a new name", segment(3), false},
                        {"zeros", Bytes(kSize.bytes()), false}};
  for (const Case& c : cases) {
    for (const auto method : {codec::Method::none, codec::Method::zstd}) {
      SCOPED_TRACE(::testing::Message() << c.what << codec::suffix(method));
      SimDisk disk;
      disk.put(name(4), segment(4));
      if (method == codec::Method::none)
        disk.put(name(5), c.content);
      else
        disk.put(name(5, ".zst"), compressed(c.content, method));
      const auto error = error_of([&] { static_cast<void>(resume(disk)); });
      EXPECT_EQ(error.kind(), ErrorKind::damage);
      EXPECT_THAT(error.what(), HasSubstr("not valid WAL to its end"));
      // A pg_wal has several of them.
      EXPECT_THAT(error.hint(),
                  HasSubstr(c.begun ? "--replace-damaged" : "of this kind before it"));
    }
  }
}

TEST(ResumePoint, FollowsBehindEveryLegalEndOfASegment) {
  // With switches, and records that are overwritten.
  WalBuilder wal(WalBuilder::Options{});
  wal.grow_to(kSize.start(40));
  for (std::uint64_t segno = kSize.segno(wal.options().start); segno < 40; ++segno) {
    SCOPED_TRACE(segno);
    SimDisk disk;
    const auto bytes = wal.bytes(kSize.start(segno), kSize.start(segno + 1));
    disk.put(name(segno), Bytes(bytes.begin(), bytes.end()));
    EXPECT_EQ(resume(disk)->start, kSize.start(segno + 1));
  }
}

TEST(ResumePoint, TellsTheEndOfALargeSegmentByItsLastPart) {
  const auto size = *wal::SegmentSize::of(64 << 20);
  WalBuilder::Options options;
  options.segment_size = size;
  options.start = size.start(1);
  options.switch_every = 0;
  WalBuilder wal(options);
  wal.grow_to(size.start(2));
  const SegmentName segment(1, 1, size);
  const auto point = [&](const Bytes& content) {
    SimDisk disk;
    disk.put(segment.to_string(), content);
    const auto directory = disk.open();
    return find_resume_point(*directory, list_archive(*directory), size)->start;
  };
  const auto bytes = wal.bytes(size.start(1), size.start(2));
  Bytes content(bytes.begin(), bytes.end());
  EXPECT_EQ(point(content), size.start(2));
  std::fill(content.end() - 100'000, content.end(), std::byte{0});
  EXPECT_EQ(error_of([&] { static_cast<void>(point(content)); }).kind(), ErrorKind::damage);
  std::fill(content.end() - (20 << 20), content.end(), std::byte{0});
  EXPECT_EQ(error_of([&] { static_cast<void>(point(content)); }).kind(), ErrorKind::damage);

  WalBuilder short_one(options);
  short_one.append_random(400);
  short_one.append_switch();
  short_one.grow_to(size.start(2));
  const auto switched = short_one.bytes(size.start(1), size.start(2));
  EXPECT_EQ(point(Bytes(switched.begin(), switched.end())), size.start(2));
}

/// What a process leaves that goes on with `segno` behind a hole that was accepted.
void go_on_with(SimDisk& disk, std::uint64_t segno, std::uint64_t hole_begin,
                wal::TimelineId timeline = 1) {
  Loss loss;
  loss.timeline = loss.next_timeline = timeline;
  loss.begin = kSize.start(hole_begin);
  loss.end = kSize.start(segno);
  loss.segment_size = kSize;
  record_loss(*disk.open(), loss);
}

TEST(RecordedHole, LetsTheArchiveGoOnBehindIt) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  go_on_with(disk, 4, 2);
  disk.crash_losing_everything();
  EXPECT_EQ(resume(disk)->start, kSize.start(2)) << "the segment behind it was never begun";

  disk.put(name(4, ".partial"), segment(4, 300'000));
  const auto point = resume(disk);
  EXPECT_EQ(point->start, kSize.start(4));
  EXPECT_THAT(point->holes, ElementsAre(ResumePoint::Hole{kSize.start(2), kSize.start(4)}));
  EXPECT_THAT(point->open, SizeIs(1));

  // Where the missing segments were brought, or some of them, these count.
  disk.put(name(3), segment(3));
  EXPECT_EQ(resume(disk)->start, kSize.start(4));
  EXPECT_THAT(resume(disk)->holes, ElementsAre(ResumePoint::Hole{kSize.start(2), kSize.start(3)}));
  disk.put(name(2), segment(2));
  EXPECT_THAT(resume(disk)->holes, IsEmpty());
}

TEST(RecordedHole, OverATimelineSwitchCountsAfterAnImportHasBroughtAPartOfIt) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  const auto history = "1\t" + (kSize.start(2) + 4096).to_string() + "\tno recovery target\n";
  disk.put("00000002.history", test::bytes_of(history));
  Loss loss;
  loss.timeline = 1;
  loss.next_timeline = 2;
  loss.begin = kSize.start(2);
  loss.end = kSize.start(5);
  loss.segment_size = kSize;
  record_loss(*disk.open(), loss);
  disk.put(name(5, ".partial", 2), segment(5, 300'000));
  EXPECT_EQ(resume(disk)->start, kSize.start(5));

  disk.put(name(3, "", 2), segment(3));
  const auto point = resume(disk);
  EXPECT_EQ(point->start, kSize.start(5));
  EXPECT_THAT(point->holes, ElementsAre(ResumePoint::Hole{kSize.start(4), kSize.start(5)}));
  EXPECT_THAT(point->open, SizeIs(1));
}

/// As pg_receivewal writes it with --compress=lz4.
TEST(RecordedHole, CountsWhereTheSegmentBehindItIsUnfinishedInACompressedForm) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  go_on_with(disk, 4, 2);
  disk.put(name(4, ".lz4.partial"), test::bytes_of("the begin of a frame"));
  const auto point = resume(disk);
  EXPECT_EQ(point->start, kSize.start(4));
  EXPECT_THAT(point->holes, ElementsAre(ResumePoint::Hole{kSize.start(2), kSize.start(4)}));
  EXPECT_THAT(point->open, IsEmpty());
}

TEST(RecordedHole, CountsWhereItBeginsInAnUnfinishedSegment) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  disk.put(name(2, ".partial"), segment(2, 300'000));
  disk.put(name(3, ".partial"), segment(3, 300'000));
  EXPECT_EQ(resume(disk)->start, kSize.start(2)) << "two in a row are what a crash leaves";
  go_on_with(disk, 3, 2);
  const auto point = resume(disk);
  EXPECT_EQ(point->start, kSize.start(3));
  EXPECT_THAT(point->holes, ElementsAre(ResumePoint::Hole{kSize.start(2), kSize.start(3)}));
  EXPECT_THAT(point->open, SizeIs(1));
}

TEST(RecordedHole, CountsAlthoughItsRecordIsTorn) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  go_on_with(disk, 4, 2);
  disk.put(name(4, ".partial"), segment(4, 300'000));
  const auto record = loss_record_name("hole-1-0-200000");
  auto content = disk.content(record);
  content.resize(content.size() / 2);
  disk.put(record, content);
  EXPECT_EQ(resume(disk)->start, kSize.start(4)) << "as the names of record and segments tell";
}

TEST(RecordedHole, IsUnderstoodAsEarlierVersionsMarkedIt) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  disk.put(name(4, ".partial"), segment(4, 300'000));
  disk.put(hole_mark_name(SegmentName(1, 4, kSize)), {});
  EXPECT_EQ(resume(disk)->start, kSize.start(4));
  EXPECT_THAT(resume(disk)->holes, SizeIs(1));
}

TEST(RecordedHole, OfAnotherTimelineOrSegmentSizeSaysNothing) {
  for (const char* mark : {".pgweir-behind-hole-000000020000000000000004",
                           ".pgweir-behind-hole-0000000100000000FFFFFFFF",
                           ".pgweir-behind-hole-00000001000000000000000", ".pgweir-behind-hole-"}) {
    SCOPED_TRACE(mark);
    SimDisk disk;
    disk.put(name(1), segment(1));
    disk.put(name(4, ".partial"), segment(4, 100));
    disk.put(mark, {});
    EXPECT_EQ(resume(disk)->start, kSize.start(2));
  }
  SimDisk disk;
  disk.put(name(1), segment(1));
  disk.put(name(4, ".partial"), segment(4, 100));
  go_on_with(disk, 4, 2, 2);
  EXPECT_EQ(resume(disk)->start, kSize.start(2));
}

TEST(HoleMark, IsCleanedUpOnceItsSegmentIsFinishedOrWasNeverBegun) {
  for (const char* const form :
       std::initializer_list<const char*>{"", ".zst", ".partial", nullptr}) {
    SimDisk disk;
    disk.put(name(1), segment(1));
    disk.put(hole_mark_name(SegmentName(1, 4, kSize)), {});
    const bool unfinished = form != nullptr && std::string_view(form) == ".partial";
    if (form != nullptr) disk.put(name(4, form), {});
    const auto directory = disk.open();
    clean_up(*directory, list_archive(*directory));
    disk.crash_losing_everything();
    EXPECT_EQ(disk.exists(hole_mark_name(SegmentName(1, 4, kSize))), unfinished);
  }
}

/// Pieces of a large segment are written by jobs that overlap (P1, P2): whichever of them the power
/// leaves, a start trusts nothing behind the first that is missing, and goes on from there.
TEST(ResumePoint, EndsBeforeTheFirstPieceThatIsMissing) {
  constexpr std::uint64_t kPiece = 256 << 10;
  const Lsn start = kSize.start(3);
  const auto wal = segment(3);
  for (const bool first_is_there : {true, false}) {
    SCOPED_TRACE(first_is_there);
    SimDisk disk;
    const SegmentWriter::Options options{.segment_size = kSize, .largest_buffered = kPiece};
    {
      const auto directory = disk.open();
      SegmentWriter writer(*directory, options);
      writer.begin(1, start, {});
      writer.buffer_new_segments(true);
      std::vector<std::unique_ptr<SyncJob>> jobs;
      for (std::uint64_t at = 0; at < 3 * kPiece; at += kPiece) {
        writer.write(std::span(wal).subspan(at, kPiece));
        jobs.push_back(writer.take_sync_job());
      }
      jobs[2]->sync_data();
      if (first_is_there)
        jobs[0]->sync_data();
      else
        directory->sync();  // the name, which the first job would have made safe
      disk.crash_losing_everything();
    }
    EXPECT_TRUE(
        disk.holds(name(3, ".partial"), 2 * kPiece, std::span(wal).subspan(2 * kPiece, kPiece)));
    const auto point = resume(disk);
    ASSERT_TRUE(point);
    EXPECT_EQ(point->start, start);
    std::vector<OpenSegment> open = point->open;
    if (first_is_there) {
      ASSERT_THAT(open, SizeIs(1));
      EXPECT_LE(open.front().trusted_end, start + kPiece);
      EXPECT_GT(open.front().trusted_end, start + kPiece / 2);
    } else if (!open.empty()) {
      EXPECT_EQ(open.front().trusted_end, start);
    }
    const auto directory = disk.open();
    SegmentWriter writer(*directory, options);
    writer.begin(1, start, open);
    writer.buffer_new_segments(true);
    writer.write(wal);
    run(*writer.take_sync_job());
    disk.crash_losing_everything();
    EXPECT_TRUE(disk.holds(name(3), 0, wal));
  }
}

TEST(ResumePoint, TrustsTheSoundRecordsOfAPartial) {
  const Lsn start = kSize.start(3);
  for (const std::uint64_t written :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{40}, std::uint64_t{8192},
        std::uint64_t{123'456}, std::uint64_t{700'001}, kSize.bytes()}) {
    for (const bool full_size : {true, false}) {
      SCOPED_TRACE(::testing::Message() << written << (full_size ? " in full size" : " alone"));
      SimDisk disk;
      Bytes content = segment(3, written);
      if (!full_size) content.resize(written);
      disk.put(name(3, ".partial"), content);
      const auto point = resume(disk);
      ASSERT_TRUE(point);
      ASSERT_THAT(point->open, SizeIs(1));
      const OpenSegment& open = point->open.front();
      EXPECT_EQ(open.start, start);
      Lsn first = start;  // of the records that begin in what is there
      Lsn end = start;
      for (const auto& record : stream().records()) {
        if (record.start < start) continue;
        if (end == start && record.end <= start + written) first = record.start;
        if (record.end > start + written) break;
        end = record.end;
      }
      EXPECT_LE(open.trusted_end, start + written);
      if (end == start) {
        EXPECT_EQ(open.trusted_end, open.first_record);
      } else {
        EXPECT_EQ(open.first_record, first);
        EXPECT_EQ(open.trusted_end, end);
      }
    }
  }
}

TEST(ResumePoint, TrustsNothingBehindAnXlogSwitch) {
  // The filler may come again with other bytes, and a difference would be told as other WAL.
  WalBuilder wal({.switch_every = 0, .abort_every = 0});
  wal.grow_to(kSize.start(3) + 300'000);
  ASSERT_TRUE(wal.append_switch());
  const auto end = wal.records().back().end;
  ASSERT_LT(end, kSize.start(4));
  const auto bytes = wal.bytes(kSize.start(3), kSize.start(4));
  SimDisk disk;
  disk.put(name(3, ".partial"), Bytes(bytes.begin(), bytes.end()));
  const auto point = resume(disk);
  ASSERT_TRUE(point);
  ASSERT_EQ(point->open.size(), 1U);
  EXPECT_EQ(point->open[0].trusted_end, end);
}

TEST(ResumePoint, TrustsNothingBehindADamagedRecord) {
  const Lsn start = kSize.start(3);
  SimDisk disk;
  Bytes content = segment(3);
  content[500'000] ^= std::byte{1};
  disk.put(name(3, ".partial"), content);
  disk.put(name(4, ".partial"), segment(4, 10'000));  // each segment for itself
  const auto point = resume(disk);
  ASSERT_TRUE(point);
  ASSERT_THAT(point->open, SizeIs(2));
  EXPECT_LE(point->open[0].trusted_end, start + 500'000);
  EXPECT_GT(point->open[0].trusted_end, start + 400'000);
  EXPECT_GT(point->open[1].trusted_end, kSize.start(4));
  EXPECT_LE(point->open[1].trusted_end, kSize.start(4) + 10'000);
}

/// End of the last record that ends at `limit` or before.
Lsn last_end(Lsn limit) {
  Lsn end;
  for (const auto& record : stream().records())
    if (record.end <= limit) end = record.end;
  return end;
}

TEST(ResumePoint, TellsUpToWhereTheUnfinishedSegmentsHaveRecordsWithoutABreak) {
  struct Case {
    const char* what;
    std::vector<std::pair<std::uint64_t, Bytes>> partials;
    Lsn end;
  };
  Bytes damaged = segment(3);
  damaged[500'000] ^= std::byte{1};
  Bytes torn_front = segment(3, 300'000);
  std::fill_n(torn_front.begin() + 40, 8, std::byte{0xEE});  // of the record that comes over
  Bytes of_another = segment(5, 10'000);
  const auto start = kSize.start(3);
  for (const Case& c :
       {Case{"nothing", {{3, Bytes(kSize.bytes())}}, start},
        Case{"some", {{3, segment(3, 300'000)}}, last_end(start + 300'000)},
        Case{"two", {{3, segment(3)}, {4, segment(4, 10'000)}}, last_end(kSize.start(4) + 10'000)},
        Case{"the second has nothing",
             {{3, segment(3)}, {4, Bytes(kSize.bytes())}},
             last_end(kSize.start(4))},
        Case{"the first is not whole",
             {{3, segment(3, 300'000)}, {4, segment(4, 10'000)}},
             last_end(start + 300'000)},
        Case{"the first is damaged",
             {{3, damaged}, {4, segment(4, 10'000)}},
             last_end(start + 500'000)},
        Case{"one is missing", {{4, segment(4, 10'000)}}, start},
        Case{"one is missing between",
             {{3, segment(3)}, {5, segment(5, 10'000)}},
             last_end(kSize.start(4))},
        Case{"the second is another one",
             {{3, segment(3)}, {4, of_another}},
             last_end(kSize.start(4))},
        Case{"what comes over the border is torn", {{3, torn_front}}, start}}) {
    for (const auto method : {codec::Method::none, codec::Method::zstd}) {
      SCOPED_TRACE(::testing::Message() << c.what << codec::suffix(method));
      SimDisk disk;
      if (method == codec::Method::none)
        disk.put(name(2), segment(2));
      else
        disk.put(name(2, ".zst"), compressed(segment(2), method));
      for (const auto& [segno, content] : c.partials) disk.put(name(segno, ".partial"), content);
      const auto point = resume(disk);
      ASSERT_TRUE(point);
      EXPECT_EQ(point->start, start);
      EXPECT_EQ(point->sound_end, std::max(start, c.end));
    }
  }
}

/// Of which the receiver has reported what it had flushed: the server's slot is there.
TEST(ResumePoint, TellsUpToWhereAnIncompleteRecordMayReach) {
  const auto start = kSize.start(3);
  WalBuilder wal({.switch_every = 0, .abort_every = 0, .large_every = 0});
  wal.grow_to(Lsn(start.byte() - 16'384));
  ASSERT_LT(wal.end(), start);
  wal.append_random(30'000);
  wal.append_random(9'000);
  wal.grow_to(kSize.start(4));
  const auto content = [&](std::uint64_t segno, std::uint64_t written) {
    const auto bytes = wal.bytes(kSize.start(segno), kSize.start(segno) + written);
    Bytes file(bytes.begin(), bytes.end());
    file.resize(kSize.bytes());
    return file;
  };
  int incomplete = 0;
  for (std::uint64_t written = 0; written <= 30'720; written += 256) {
    SCOPED_TRACE(written);
    SimDisk disk;
    disk.put(name(2), content(2, kSize.bytes()));
    disk.put(name(3, ".partial"), content(3, written));
    const auto point = resume(disk);
    ASSERT_TRUE(point);
    const auto& open = point->open.at(0);
    if (open.trusted_end > open.first_record) {
      EXPECT_EQ(point->unbroken_end, point->sound_end);
      continue;
    }
    ++incomplete;
    EXPECT_GE(point->unbroken_end, point->sound_end);
    EXPECT_GE(point->unbroken_end, start + written);
    EXPECT_LE(point->unbroken_end, start + (written + 8191) / 8192 * 8192) << "the page";
  }
  EXPECT_GT(incomplete, 50);
}

TEST(ResumePoint, TellsNoEndBehindAHole) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  disk.put(name(2, ".partial"), segment(2, 300'000));
  go_on_with(disk, 4, 2);
  disk.put(name(4, ".partial"), segment(4, 300'000));
  const auto point = resume(disk);
  EXPECT_EQ(point->start, kSize.start(4));
  EXPECT_EQ(point->sound_end, last_end(kSize.start(4) + 300'000));
  disk.erase(name(4, ".partial"));
  EXPECT_EQ(resume(disk)->sound_end, last_end(kSize.start(2) + 300'000));
}

/// What a process that was killed has written and not synced.
TEST(MakeEndDurable, KeepsWhatWasReadOfUnfinishedSegments) {
  for (const bool with_them : {true, false}) {
    SimDisk disk;
    disk.put(name(3), segment(3));
    {
      const auto directory = disk.open();
      const auto file = directory->create(name(4, ".partial"));
      directory->sync();
      file->write_at(0, segment(4, 300'000));
    }
    const auto directory = disk.open();
    const auto listing = list_archive_names(*directory);
    const auto point = find_resume_point(*directory, listing, kSize);
    ASSERT_TRUE(point);
    EXPECT_EQ(point->sound_end, last_end(kSize.start(4) + 300'000));
    if (with_them)
      make_end_durable(*directory, listing, *point, kSize);
    else
      make_end_durable(*directory, listing);
    disk.crash_losing_everything();
    EXPECT_EQ(resume(disk)->sound_end == point->sound_end, with_them);
  }
}

TEST(ResumePoint, RefusesFilesOfTheWrongSize) {
  struct Case {
    const char* what;
    std::vector<std::pair<std::string, Bytes>> files;
    ErrorKind kind;
    std::string size;
  };
  const Bytes full(kSize.bytes());
  const Bytes longer(kSize.bytes() + 1);
  const Bytes shorter(kSize.bytes() - 1);
  for (const Case& c :
       {Case{"partial too long", {{name(3, ".partial"), longer}}, ErrorKind::conflict, "1048577"},
        Case{"finished too short", {{name(3), shorter}}, ErrorKind::damage, "1048575"},
        Case{"finished empty", {{name(3), {}}}, ErrorKind::damage, "size 0"},
        Case{"finished too long", {{name(3), longer}}, ErrorKind::damage, "1048577"},
        Case{"compressed too short",
             {{name(3, ".zst"), compressed(shorter, codec::Method::zstd)}},
             ErrorKind::damage,
             "1048575"},
        Case{"compressed too long",
             {{name(3, ".gz"), compressed(longer, codec::Method::gzip)}},
             ErrorKind::damage,
             "expected 1048576"},
        Case{"compressed and empty", {{name(3, ".zst"), {}}}, ErrorKind::damage, name(3, ".zst")},
        Case{"no segment of this size",
             {{"000000010000000000001000", full}},
             ErrorKind::conflict,
             "000000010000000000001000"}}) {
    SCOPED_TRACE(c.what);
    SimDisk disk;
    for (const auto& [file, content] : c.files) disk.put(file, content);
    const Error error = error_of([&] { resume(disk); });
    EXPECT_EQ(error.kind(), c.kind);
    EXPECT_THAT(error.what(), HasSubstr(c.size));
    EXPECT_THAT(error.what(), HasSubstr(c.files.front().first));
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(ResumePoint, TakesFinishedSegmentsInAnyForm) {
  const Bytes full = segment(3);
  for (const auto& [suffix, method] :
       {std::pair{".zst", codec::Method::zstd}, std::pair{".gz", codec::Method::gzip},
        std::pair{".lz4", codec::Method::lz4}}) {
    SCOPED_TRACE(suffix);
    SimDisk disk;
    disk.put(name(3, suffix), compressed(full, method));
    EXPECT_EQ(resume(disk)->start, kSize.start(4));
    disk.put(name(3), full);  // both forms
    EXPECT_EQ(resume(disk)->start, kSize.start(4));
  }
}

std::optional<Identity> identity(SimDisk& disk) {
  const auto directory = disk.open();
  return read_identity(*directory, list_archive(*directory));
}

TEST(Identity, IsReadFromTheNewestSegmentInAnyForm) {
  for (const auto& [suffix, method] :
       {std::pair{"", codec::Method::none}, std::pair{".zst", codec::Method::zstd},
        std::pair{".gz", codec::Method::gzip}, std::pair{".lz4", codec::Method::lz4},
        std::pair{".partial", codec::Method::none},
        std::pair{".gz.partial", codec::Method::gzip}}) {
    SCOPED_TRACE(suffix);
    SimDisk disk;
    disk.put(name(2), Bytes(100));  // older, and not looked at
    disk.put(name(3, suffix), compressed(segment(3), method));
    const auto found = identity(disk);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->system_identifier, stream().options().system_identifier);
    EXPECT_EQ(found->segment_size, kSize);
    EXPECT_EQ(found->file, name(3, suffix));
  }
}

TEST(Identity, IsReadFromACompressedPartialThatEndsAnywhere) {
  SimDisk disk;
  Bytes packed = compressed(segment(3), codec::Method::gzip);
  packed.resize(packed.size() / 2);
  disk.put(name(3, ".gz.partial"), packed);
  EXPECT_TRUE(identity(disk));
}

TEST(Identity, IsNoneWhereNothingWasWrittenYet) {
  SimDisk disk;
  EXPECT_FALSE(identity(disk));
  disk.put(name(3, ".partial"), {});
  disk.put(name(4, ".partial"), Bytes(kSize.bytes()));
  disk.put(name(5, ".gz.partial"), {});
  EXPECT_FALSE(identity(disk));
  disk.put(name(2), segment(2));  // but an older one tells
  ASSERT_TRUE(identity(disk));
  EXPECT_EQ(identity(disk)->file, name(2));
}

TEST(Identity, IsReadFromAFileThatWasCompletedOrCompressedSinceItWasListed) {
  for (const auto& [listed, present, method] : {std::tuple{".partial", "", codec::Method::none},
                                                std::tuple{".partial", ".zst", codec::Method::zstd},
                                                std::tuple{"", ".gz", codec::Method::gzip}}) {
    SCOPED_TRACE(present);
    SimDisk disk;
    disk.put(name(3, listed), segment(3));
    const auto directory = disk.open();
    const auto listing = list_archive(*directory);
    directory->remove(name(3, listed));
    disk.put(name(3, present), compressed(segment(3), method));
    const auto found = read_identity(*directory, listing);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->file, name(3, present));
  }
}

TEST(Identity, GoesBackPastDamagedFilesButNotForEver) {
  SimDisk disk;
  disk.put(name(2), segment(2));
  for (std::uint64_t segno = 3; segno < 3 + 15; ++segno)
    disk.put(name(segno), test::pattern(100, segno));
  ASSERT_TRUE(identity(disk));
  disk.put(name(18), Bytes(kSize.bytes()));
  const Error error = error_of([&] { identity(disk); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_THAT(error.what(), HasSubstr(name(18)));
}

TEST(Identity, RefusesAHeaderThatIsNotThatOfTheFile) {
  struct Case {
    const char* what;
    Bytes content;
    const char* told;
  };
  Bytes magic = segment(3);
  magic[0] = std::byte{0};
  Bytes size = segment(3);
  size[32] = std::byte{1};  // xlp_seg_size
  for (const Case& c :
       {Case{"of another segment", segment(2), "has the address"},
        Case{"unknown magic", magic, "magic"}, Case{"impossible size", size, "segment size"},
        Case{"text", test::bytes_of("rubbish"), "empty"},
        Case{"cut", Bytes(magic.begin() + 4, magic.begin() + 34), "empty"}}) {
    SCOPED_TRACE(c.what);
    SimDisk disk;
    disk.put(name(3), c.content);
    const Error error = error_of([&] { identity(disk); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_THAT(error.what(), HasSubstr(c.told));
  }
}

TEST(Identity, HasToBeThatOfTheServer) {
  const Identity found{42, kSize, name(3)};
  EXPECT_NO_THROW(require_same_cluster(found, 42, kSize, "/archive"));
  const Error other = error_of([&] { require_same_cluster(found, 43, kSize, "/archive"); });
  EXPECT_EQ(other.kind(), ErrorKind::conflict);
  for (const char* part : {"42", "43", "/archive"}) EXPECT_THAT(other.what(), HasSubstr(part));
  const Error size =
      error_of([&] { require_same_cluster(found, 42, wal::SegmentSize(), "/archive"); });
  EXPECT_EQ(size.kind(), ErrorKind::conflict);
  for (const char* part : {"1048576", "16777216"}) EXPECT_THAT(size.what(), HasSubstr(part));
}

TEST(ServerDirectory, IsNotUsedAsAnArchive) {
  SimDisk disk;
  const auto directory = disk.open();
  EXPECT_NO_THROW(require_not_a_server_directory(*directory));
  disk.put("archive_status", {});  // a file of that name is not what pg_wal has
  EXPECT_NO_THROW(require_not_a_server_directory(*directory));
  disk.put("PG_VERSION", {});
  EXPECT_EQ(error_of([&] { require_not_a_server_directory(*directory); }).kind(),
            ErrorKind::conflict);
}

TEST(EndOfTheArchive, IsDurableAfterwardsInEachForm) {
  for (const auto& [suffix, method] :
       {std::pair{"", codec::Method::none}, std::pair{".zst", codec::Method::zstd}}) {
    SCOPED_TRACE(suffix);
    SimDisk disk;
    const Bytes content =
        method == codec::Method::none ? segment(2) : compressed(segment(2), method);
    {
      const auto directory = disk.open();  // an archive_command that never syncs
      directory->create(name(2, suffix))->write_at(0, content);
    }
    {
      const auto directory = disk.open();
      make_end_durable(*directory, list_archive(*directory));
    }
    disk.crash_losing_everything();
    ASSERT_TRUE(disk.exists(name(2, suffix)));
    EXPECT_TRUE(disk.holds(name(2, suffix), 0, content));
  }
}

TEST(EndOfTheArchive, MayChangeItsFormMeanwhile) {
  SimDisk disk;
  disk.put(name(2), segment(2));
  const auto directory = disk.open();
  const auto listing = list_archive(*directory);
  disk.erase(name(2));
  disk.put(name(2, ".zst"), compressed(segment(2), codec::Method::zstd));
  make_end_durable(*directory, listing);
}

TEST(EndOfTheArchive, MayNotVanish) {
  SimDisk disk;
  disk.put(name(1), segment(1));
  disk.put(name(2), segment(2));
  const auto directory = disk.open();
  const auto listing = list_archive(*directory);
  disk.erase(name(2));
  const auto error = error_of([&] { make_end_durable(*directory, listing); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_THAT(error.what(), HasSubstr(name(2)));
}

TEST(EndOfTheArchive, IsNotBelievedInWhenItsSyncFails) {
  SimDisk disk;
  disk.put(name(2), segment(2));
  const auto directory = disk.open();
  const auto listing = list_archive(*directory);
  disk.fail_every(SimDisk::Operation::sync, EIO);
  EXPECT_EQ(error_of([&] { make_end_durable(*directory, listing); }).kind(), ErrorKind::durability);

  // Nor does it pass for another failure, after which the start would be tried again.
  disk.set_hook([](const SimDisk::Call& call) {
    if (call.operation == SimDisk::Operation::sync) return SimDisk::Effect::fail(EIO);
    if (call.operation == SimDisk::Operation::find) return SimDisk::Effect::fail(ENOSPC);
    return SimDisk::Effect::proceed();
  });
  EXPECT_EQ(error_of([&] { make_end_durable(*directory, listing); }).kind(), ErrorKind::durability);
}

TEST(EndOfTheArchive, IsWrittenAnewWhereAnEarlierProcessDidNotSeeItSynced) {
  // The kernel counts the pages of a failed sync as clean, and the next one succeeds without them.
  for (const auto& [suffix, method] :
       {std::pair{"", codec::Method::none}, std::pair{".zst", codec::Method::zstd}}) {
    SCOPED_TRACE(suffix);
    SimDisk disk;
    const Bytes content =
        method == codec::Method::none ? segment(2) : compressed(segment(2), method);
    disk.open()->create(name(2, suffix))->write_at(0, content);
    const auto start = [&] {
      const auto directory = disk.open();
      const auto listing = list_archive(*directory);
      const bool rewritten = rewrite_unsynced_end(*directory, listing);
      make_end_durable(*directory, listing, find_resume_point(*directory, listing, kSize).value(),
                       kSize);
      return rewritten;
    };
    bool failed = false;
    disk.set_hook([&](const SimDisk::Call& call) {
      if (failed || call.operation != SimDisk::Operation::sync) return SimDisk::Effect::proceed();
      failed = true;
      return SimDisk::Effect::fail(EIO);
    });
    EXPECT_EQ(error_of(start).kind(), ErrorKind::durability);
    EXPECT_TRUE(start());
    EXPECT_FALSE(disk.exists(std::string(kSyncMark)));
    EXPECT_FALSE(start());
    disk.crash_losing_everything();
    ASSERT_TRUE(disk.exists(name(2, suffix)));
    EXPECT_TRUE(disk.holds(name(2, suffix), 0, content));
  }
}

TEST(EndOfTheArchive, IsSyncedAlsoIfItIsWrittenAnewMeanwhile) {
  // A relay looks at the archive while its receiver starts: the file that it has open has no name
  // any more, which is no failed sync.
  SimDisk disk;
  disk.open()->create(name(2))->write_at(0, segment(2));
  static_cast<void>(disk.open()->create(std::string(kSyncMark)));
  const auto directory = disk.open();
  const auto listing = list_archive(*directory);
  int rewritten = 0;
  disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation == SimDisk::Operation::sync && call.name == name(2) && rewritten == 0) {
      ++rewritten;
      rewrite_unsynced_end(*directory, listing);
    }
    return SimDisk::Effect::proceed();
  });
  make_end_durable(*directory, listing);
  EXPECT_EQ(rewritten, 1);
  disk.crash_losing_everything();
  EXPECT_TRUE(disk.holds(name(2), 0, segment(2)));
}

TEST(EndOfTheArchive, IsLookedForAgainIfAPartialSegmentIsRemovedMeanwhile) {
  SimDisk disk;
  disk.open()->create(name(2, ".partial"))->write_at(0, segment(2));
  const auto directory = disk.open();
  disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation == SimDisk::Operation::sync) directory->remove(name(2, ".partial"));
    return SimDisk::Effect::proceed();
  });
  const auto error =
      error_of([&] { sync_unfinished(*directory, *SegmentFileName::parse(name(2, ".partial"))); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_TRUE(is_gone(error));
}

/// Segments 1 to 6 were copied without a flush: one of them a second time, after others.
TEST(EndOfTheArchive, HasAllThatWasJustCopiedBeforeIt) {
  for (const bool known : {false, true}) {
    SCOPED_TRACE(known);
    SimDisk disk;
    test::ChangedAgo directory(disk.open());
    for (std::uint64_t segno = 1; segno <= 6; ++segno)
      directory.create(name(segno))->write_at(0, segment(segno));
    for (const auto segno : {1, 3, 5}) directory.ago[name(segno)] = std::chrono::minutes(2);
    const auto listing = list_archive(directory);
    sync_copies(directory, listing, known ? std::optional(SegmentName(1, 4, kSize)) : std::nullopt,
                std::chrono::system_clock::now());
    make_end_durable(directory, listing);
    disk.crash_losing_everything();
    EXPECT_EQ(disk.holds(name(2), 0, segment(2)), !known);
    for (const auto segno : {4, 6}) EXPECT_TRUE(disk.holds(name(segno), 0, segment(segno)));
  }
}

/// Each one that is looked at costs a round trip on a network file system.
TEST(EndOfTheArchive, IsNotLookedAtFarBackForCopies) {
  SimDisk disk;
  test::ChangedAgo directory(disk.open());
  for (std::uint64_t segno = 1; segno <= 300; ++segno) {
    disk.put(name(segno), {});
    directory.ago[name(segno)] = std::chrono::minutes(2);
  }
  const auto listing = list_archive_names(directory);
  disk.reset_calls();
  sync_copies(directory, listing, std::nullopt, std::chrono::system_clock::now());
  EXPECT_EQ(disk.calls(), 100u);
}

TEST(EndOfTheArchive, OfAnEmptyOneIsItsNames) {
  SimDisk disk;
  const auto directory = disk.open();
  make_end_durable(*directory, list_archive(*directory));
}

}  // namespace
}  // namespace weir::archive::resume_test
