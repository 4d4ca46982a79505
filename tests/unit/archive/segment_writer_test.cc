#include "archive/segment_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "archive/listing.h"
#include "base/error.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::archive::segment_writer_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;
using test::Bytes;
using test::error_of;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::WalBuilder;
using wal::Lsn;
using wal::SegmentName;
using Operation = SimDisk::Operation;
using Effect = SimDisk::Effect;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
const Lsn kStart = kSize.start(3);

std::string final_name(std::uint64_t segno) { return SegmentName(1, segno, kSize).to_string(); }
std::string partial_name(std::uint64_t segno) { return final_name(segno) + ".partial"; }

/// The stream from kStart on.
const Bytes& stream() {
  static const Bytes bytes = test::pattern(4 << 20, 42);
  return bytes;
}
std::span<const std::byte> stream_between(Lsn begin, Lsn end) {
  return std::span(stream()).subspan(begin - kStart, end - begin);
}

/// The segment's name in whatever finished form it has; nullopt if it has none.
std::optional<std::string> finished(const SimDisk& disk, std::uint64_t segno) {
  for (const char* suffix : {"", ".zst"})
    if (disk.exists(final_name(segno) + suffix)) return final_name(segno) + suffix;
  return std::nullopt;
}

/// Whether the finished file `name` holds these bytes, and no others. (Compared in one go each: the
/// disk is looked at many thousand times.)
bool holds_all(const SimDisk& disk, const std::string& name, std::span<const std::byte> expected) {
  if (!name.ends_with(".zst"))
    return disk.size(name) == expected.size() && disk.holds(name, 0, expected);
  bool same = true;
  const auto decompressor = codec::make_decompressor(codec::Method::zstd);
  decompressor->feed(disk.content(name), [&](std::span<const std::byte> bytes) {
    same = same && bytes.size() <= expected.size() &&
           std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0;
    expected = expected.subspan(std::min(bytes.size(), expected.size()));
    return true;
  });
  decompressor->finish();
  return same && expected.empty();
}

/// P1 and P2: what was acknowledged is there and can be found, and final names are complete.
void expect_archive(const SimDisk& disk, Lsn acknowledged) {
  for (const std::string& name : disk.names()) {
    const auto file = SegmentFileName::parse(name);
    if (!file || file->partial) continue;
    const Lsn start = file->segment.start(kSize);
    ASSERT_TRUE(holds_all(disk, name, stream_between(start, start + kSize.bytes()))) << name;
  }
  bool unfinished = false;
  for (Lsn at = kStart; at < acknowledged; at = kSize.start(kSize.segno(at) + 1)) {
    const std::uint64_t segno = kSize.segno(at);
    const Lsn end = std::min(acknowledged, kSize.start(segno + 1));
    if (finished(disk, segno)) {
      // A finished segment behind an unfinished one would hide it.
      ASSERT_FALSE(unfinished) << final_name(segno);
      continue;
    }
    unfinished = true;
    ASSERT_TRUE(disk.exists(partial_name(segno))) << at.to_string();
    ASSERT_TRUE(disk.holds(partial_name(segno), 0, stream_between(at, end)))
        << partial_name(segno) << " up to " << end.to_string();
  }
}

/// A finished name behind one that is not: streaming would go on behind it and leave a hole.
void expect_no_hole(const SimDisk& disk) {
  bool missing = false;
  std::string first;
  for (std::uint64_t segno = 3; segno < 8; ++segno) {
    if (!finished(disk, segno)) {
      if (!missing) first = final_name(segno);
      missing = true;
    } else {
      ASSERT_FALSE(missing) << first << " is missing before " << final_name(segno);
    }
  }
}

/// Nor may the archive seem to begin behind its beginning.
void expect_beginning(const SimDisk& disk) {
  bool any = false;
  for (std::uint64_t segno = 4; segno < 8; ++segno)
    any = any || finished(disk, segno) || disk.exists(partial_name(segno));
  if (any) {
    EXPECT_TRUE(finished(disk, 3) || disk.exists(partial_name(3)));
  }
}

/// Streams from where the archive ends up to `end`, with a job after every `job_every` writes.
/// `acknowledged` follows the completed jobs.
struct Scenario {
  const char* name;
  std::size_t piece;
  int job_every;
  bool spare;
  bool collect = false;  ///< segments in memory
  codec::Compression compression = {};
  std::uint64_t largest_buffered = kLargestBuffered;
};
constexpr Scenario kScenarios[] = {
    {"a job after each write", 300'000, 1, false},
    {"a job now and then, with a spare", 150'001, 5, true},
    {"two segments in one job", 150'000, 16, false},
    {"writes of several segments", (2 << 20) + 5, 1, true},
    {"collected, jobs between", 300'000, 3, false, true},
    {"collected, two segments in one job", 400'000, 6, true, true},
    {"collected and compressed", 350'000, 4, false, true, {codec::Method::zstd, 1}},
    {"collected and compressed, several in one job",
     (2 << 20) + 5,
     1,
     true,
     true,
     {codec::Method::zstd, 1}},
    {"collected in pieces, a job after each write", 150'001, 1, false, true, {}, 256 << 10},
    {"collected in pieces, several in a job", 100'000, 7, true, true, {}, 256 << 10},
    {"collected in pieces, several segments in a job", 300'000, 9, false, true, {}, 512 << 10},
};

SegmentWriter::Options options_of(const Scenario& scenario) {
  return {.segment_size = kSize,
          .compression = scenario.compression,
          .largest_buffered = scenario.largest_buffered};
}

void run_scenario(const Scenario& scenario, io::Directory& directory, Lsn start, Lsn end,
                  Lsn& acknowledged) {
  SegmentWriter writer(directory, options_of(scenario));
  writer.begin(1, start, {});
  writer.buffer_new_segments(scenario.collect);
  int writes = 0;
  while (writer.position() < end) {
    if (scenario.spare) writer.prepare_spare();
    const Lsn piece_end = std::min(end, writer.position() + scenario.piece);
    const auto piece = stream_between(writer.position(), piece_end);
    // Every other one as if the kernel had put it there.
    if (const auto place = writer.place(); writes % 2 == 0 && place.size() >= piece.size()) {
      std::copy(piece.begin(), piece.end(), place.begin());
      writer.write(place.first(piece.size()));
    } else {
      writer.write(piece);
    }
    if (++writes % scenario.job_every != 0 && writer.position() != end) continue;
    if (const auto job = writer.take_sync_job()) {
      run(*job);
      acknowledged = job->end();
    }
  }
  writer.end();
}

/// The segment start behind the finished ones.
Lsn resume_start(const SimDisk& disk) {
  std::uint64_t segno = 3;
  while (finished(disk, segno)) ++segno;
  return kSize.start(segno);
}

TEST(SegmentWriter, KeepsWhatItsJobsPromisedThroughAPowerLossAtAnyCall) {
  std::mt19937_64 random(test::seed_or(1));
  const Lsn end = kStart + (3 << 20) + 12345;
  for (const Scenario& scenario : kScenarios) {
    SCOPED_TRACE(scenario.name);
    bool ran_through = false;
    for (std::uint64_t n = 1; !ran_through; ++n) {
      SimDisk at_that_call;
      at_that_call.lose_power_at(n);
      Lsn acknowledged_then = kStart;
      try {
        const auto directory = at_that_call.open();
        run_scenario(scenario, *directory, kStart, end, acknowledged_then);
        ran_through = true;
      } catch (const MachineDown&) {
      }
      for (int round = 0; round < 4; ++round) {
        SCOPED_TRACE(::testing::Message() << "call " << n << " round " << round);
        const auto copy = at_that_call.copy();
        auto& disk = *copy;
        auto acknowledged = acknowledged_then;
        if (round == 0)
          disk.crash_losing_everything();
        else if (round == 1)
          disk.kill();
        else
          disk.crash(random);
        expect_archive(disk, acknowledged);
        expect_no_hole(disk);
        expect_beginning(disk);
        if (round > 1) {  // and the next process goes on from there
          const auto directory = disk.open();
          directory->remove(".pgweir-spare");
          run_scenario(scenario, *directory, resume_start(disk), end, acknowledged);
          disk.crash_losing_everything();
          expect_archive(disk, end);
        }
        if (::testing::Test::HasFatalFailure() || ::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(SegmentWriter, NeverLeavesALaterSegmentFinishedAndAnEarlierOneNot) {
  // One job publishes two segments. Whichever names a crash keeps: a hole in front of a finished
  // segment would never be filled again.
  std::mt19937_64 random(test::seed_or(2));
  for (std::uint64_t n = 1;; ++n) {
    SCOPED_TRACE(::testing::Message() << "call " << n << " of publish()");
    bool ran_through = false;
    for (int round = 0; round < 60; ++round) {
      SimDisk disk;
      const auto directory = disk.open();
      SegmentWriter writer(*directory, {kSize});
      writer.begin(1, kStart, {});
      writer.write(stream_between(kStart, kStart + (2 << 20)));
      const auto job = writer.take_sync_job();
      job->sync_data();
      disk.reset_calls();
      disk.lose_power_at(n);
      try {
        job->publish();
        ran_through = true;
      } catch (const MachineDown&) {
      }
      disk.crash(random);
      expect_no_hole(disk);
      expect_archive(disk, kStart + (2 << 20));  // the names were safe before publish()
      if (::testing::Test::HasFailure()) return;
    }
    if (ran_through) break;
  }
}

TEST(SegmentWriter, GivesNoFinalNameToASegmentThatCouldNotBeClosed) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.write(stream_between(kStart, kStart + (1 << 20)));
  const auto job = writer.take_sync_job();
  job->sync_data();
  // The writing handle is the last one to be closed.
  int closes = 0;
  disk.set_hook([&](const SimDisk::Call& call) {
    return call.operation == Operation::close && ++closes == 2 ? Effect::fail(EIO)
                                                               : Effect::proceed();
  });
  EXPECT_EQ(error_of([&] { job->publish(); }).kind(), ErrorKind::durability);
  EXPECT_EQ(closes, 2);
  EXPECT_THAT(disk.names(), ElementsAre(partial_name(3)));
}

TEST(SegmentWriter, MakesTheNamesOfAnEarlierProcessDurable) {
  // The first process is killed between a rename and the sync of the directory; the second one
  // finds the final name, goes on behind it, and must not promise more than would survive.
  SimDisk disk;
  {
    const auto directory = disk.open();
    disk.set_hook([renamed = std::make_shared<bool>(false)](const SimDisk::Call& call) {
      if (*renamed && call.operation == Operation::sync_directory) return Effect::down();
      *renamed = *renamed || call.operation == Operation::rename;
      return Effect::proceed();
    });
    Lsn acknowledged = kStart;
    EXPECT_THROW(run_scenario(kScenarios[0], *directory, kStart, kStart + (2 << 20), acknowledged),
                 MachineDown);
  }
  disk.kill();
  ASSERT_TRUE(disk.exists(final_name(3)));
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  const Lsn start = resume_start(disk);
  writer.begin(1, start, {});
  writer.write(stream_between(start, start + 100));
  run(*writer.take_sync_job());
  disk.crash_losing_everything();
  expect_archive(disk, start + 100);
}

TEST(SegmentWriter, CanBeTriedAgainAfterAFullDiskAtAnyCall) {
  const Lsn end = kStart + (3 << 20) + 12345;
  for (const Scenario& scenario : kScenarios) {
    SCOPED_TRACE(scenario.name);
    for (std::uint64_t n = 1;; ++n) {
      SCOPED_TRACE(::testing::Message() << "call " << n);
      SimDisk disk;
      bool reached = false;
      disk.set_hook([&](const SimDisk::Call& call) {
        if (call.number != n) return Effect::proceed();
        reached = true;
        switch (call.operation) {
          case Operation::create:
          case Operation::write:
          case Operation::allocate:
          case Operation::rename:
            return Effect::fail(ENOSPC);
          default:
            return Effect::proceed();
        }
      });
      const auto directory = disk.open();
      SegmentWriter writer(*directory, options_of(scenario));
      writer.begin(1, kStart, {});
      writer.buffer_new_segments(scenario.collect);
      Lsn acknowledged = kStart;
      const auto again = [](auto action) {
        try {
          action();
        } catch (const Error& error) {
          ASSERT_EQ(error.kind(), ErrorKind::disk_full) << error.what();
          action();
        }
      };
      int writes = 0;
      while (writer.position() < end) {
        if (scenario.spare) again([&] { writer.prepare_spare(); });
        const Lsn piece_end = std::min(end, writer.position() + scenario.piece);
        again([&] { writer.write(stream_between(writer.position(), piece_end)); });
        ASSERT_EQ(writer.position(), piece_end);
        if (++writes % scenario.job_every != 0 && writer.position() != end) continue;
        std::unique_ptr<SyncJob> job;
        again([&] { job = writer.take_sync_job(); });
        if (job) {
          again([&] { job->sync_data(); });
          again([&] { static_cast<void>(job->publish()); });
          acknowledged = job->end();
        }
      }
      EXPECT_EQ(acknowledged, end);
      disk.crash_losing_everything();
      expect_archive(disk, end);
      if (::testing::Test::HasFailure()) return;
      if (!reached) break;
    }
  }
}

TEST(SegmentWriter, StaysWithinAFullDiskAndGoesOnWhenThereIsSpace) {
  SimDisk disk;
  disk.set_capacity((1 << 20) + 300'000);
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  const Lsn end = kStart + (2 << 20);
  EXPECT_EQ(error_of([&] { writer.write(stream_between(kStart, end)); }).kind(),
            ErrorKind::disk_full);
  EXPECT_EQ(writer.position(), kStart + (1 << 20));
  const auto job = writer.take_sync_job();  // what came in can be made safe all the same
  run(*job);
  EXPECT_EQ(job->end(), kStart + (1 << 20));
  disk.set_capacity(std::nullopt);
  writer.write(stream_between(writer.position(), end));
  run(*writer.take_sync_job());
  disk.crash_losing_everything();
  expect_archive(disk, end);
}

TEST(SegmentWriter, AcknowledgesNothingAfterAFailedSyncOrClose) {
  // Every sync and close in turn fails once: that job fails with a durability error, so do all
  // that are run afterwards, and no segment of theirs gets its final name.
  const Lsn end = kStart + (3 << 20) + 12345;
  for (const Scenario& scenario : kScenarios) {
    if (scenario.spare) continue;  // its sync is not that of a job
    SCOPED_TRACE(scenario.name);
    for (std::uint64_t n = 1;; ++n) {
      SCOPED_TRACE(::testing::Message() << "call " << n);
      SimDisk disk;
      bool reached = false;
      bool failed = false;
      disk.set_hook([&](const SimDisk::Call& call) {
        if (call.number != n) return Effect::proceed();
        reached = true;
        failed = call.operation == Operation::sync || call.operation == Operation::close ||
                 call.operation == Operation::sync_directory;
        return failed ? Effect::fail(EIO) : Effect::proceed();
      });
      const auto directory = disk.open();
      Lsn acknowledged = kStart;
      try {
        run_scenario(scenario, *directory, kStart, end, acknowledged);
        EXPECT_FALSE(failed);
      } catch (const Error& error) {
        EXPECT_TRUE(failed);
        EXPECT_EQ(error.kind(), ErrorKind::durability) << error.what();
      }
      std::mt19937_64 random(n);
      disk.crash(random);
      expect_archive(disk, acknowledged);
      if (::testing::Test::HasFailure()) return;
      if (!reached) break;
    }
  }
}

TEST(SegmentWriter, FailsEveryJobAfterOneThatFailed) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.write(stream_between(kStart, kStart + 1000));
  const auto first = writer.take_sync_job();
  writer.write(stream_between(kStart + 1000, kStart + (1 << 20)));
  const auto second = writer.take_sync_job();
  ASSERT_TRUE(second->publishes());
  second->sync_data();
  disk.fail_every(Operation::sync, EIO);
  EXPECT_EQ(error_of([&] { first->sync_data(); }).kind(), ErrorKind::durability);
  disk.set_hook({});
  EXPECT_EQ(error_of([&] { second->publish(); }).kind(), ErrorKind::durability);
  EXPECT_FALSE(disk.exists(final_name(3)));
}

TEST(SegmentWriter, FailsEveryJobAfterOneThatWasGivenUp) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.write(stream_between(kStart, kStart + 1000));
  writer.take_sync_job().reset();
  writer.write(stream_between(kStart + 1000, kStart + 2000));
  EXPECT_EQ(error_of([&] { run(*writer.take_sync_job()); }).kind(), ErrorKind::durability);
}

TEST(SegmentWriter, HasNoJobWithoutWork) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  EXPECT_EQ(writer.take_sync_job(), nullptr);
  writer.begin(1, kStart, {});
  EXPECT_EQ(writer.take_sync_job(), nullptr);
  EXPECT_THAT(disk.names(), IsEmpty());  // nothing is created before the first byte
  writer.write(stream_between(kStart, kStart + 10));
  EXPECT_EQ(writer.position(), kStart + 10);
  const auto job = writer.take_sync_job();
  ASSERT_NE(job, nullptr);
  EXPECT_EQ(job->end(), kStart + 10);
  EXPECT_FALSE(job->publishes());
  EXPECT_THAT(run(*job), IsEmpty());
  EXPECT_EQ(writer.take_sync_job(), nullptr);
}

TEST(SegmentWriter, WritesFullSizeAndOpensTheNextSegmentAtItsFirstByte) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.write(stream_between(kStart, kStart + 10));
  EXPECT_EQ(disk.size(partial_name(3)), kSize.bytes());
  writer.write(stream_between(kStart + 10, kStart + (1 << 20)));
  EXPECT_THAT(disk.names(), ElementsAre(partial_name(3)));
  const auto job = writer.take_sync_job();
  ASSERT_TRUE(job->publishes());
  EXPECT_THAT(run(*job), ElementsAre(SegmentName(1, 3, kSize)));
  EXPECT_THAT(disk.names(), ElementsAre(final_name(3)));
  writer.write(stream_between(kStart + (1 << 20), kStart + (1 << 20) + 1));
  EXPECT_THAT(disk.names(), ElementsAre(final_name(3), partial_name(4)));
  run(*writer.take_sync_job());
  writer.end();
  writer.begin(2, kSize.start(4), {});  // a new timeline; the old one keeps its .partial
  writer.write(stream_between(kSize.start(4), kSize.start(4) + 1));
  EXPECT_EQ(writer.timeline(), 2u);
  EXPECT_THAT(disk.names(), ElementsAre(final_name(3), partial_name(4),
                                        SegmentName(2, 4, kSize).to_string() + ".partial"));
}

TEST(SegmentWriter, TakesOverAPartialOfAnySizeUpToASegment) {
  struct Case {
    const char* name;
    std::uint64_t size;
    bool fits;
  };
  for (const Case& c : {Case{"empty", 0, true}, Case{"short", 5000, true},
                        Case{"full", 1 << 20, true}, Case{"too long", (1 << 20) + 1, false}}) {
    SCOPED_TRACE(c.name);
    SimDisk disk;
    disk.put(partial_name(3), Bytes(c.size, std::byte{7}));
    const auto directory = disk.open();
    SegmentWriter writer(*directory, {kSize});
    if (!c.fits) {
      const Error error = error_of([&] { writer.begin(1, kStart, {}); });
      EXPECT_EQ(error.kind(), ErrorKind::conflict);
      EXPECT_THAT(error.what(), HasSubstr(std::to_string(c.size)));
      EXPECT_THAT(error.what(), HasSubstr(std::to_string(kSize.bytes())));
      EXPECT_THAT(error.what(), HasSubstr(partial_name(3)));
      continue;
    }
    writer.begin(1, kStart, {});
    writer.write(stream_between(kStart, kStart + (1 << 20)));
    run(*writer.take_sync_job());
    disk.crash_losing_everything();
    expect_archive(disk, kStart + (1 << 20));
  }
}

TEST(SegmentWriter, RefusesOtherWalInTheTrustedRangeAndOnlyThere) {
  // The archive holds the stream but for one byte.
  struct Case {
    const char* name;
    std::uint64_t wrong_at;
    bool conflict;
  };
  const OpenSegment open{kStart, kStart + 1000, kStart + 600'000};
  for (const Case& c : {Case{"before it", 999, false}, Case{"its first byte", 1000, true},
                        Case{"within", 300'000, true}, Case{"its last byte", 599'999, true},
                        Case{"behind it", 600'000, false}}) {
    for (const std::size_t piece : {std::size_t{777}, std::size_t{1 << 20}}) {
      SCOPED_TRACE(::testing::Message() << c.name << " in pieces of " << piece);
      SimDisk disk;
      Bytes held(stream().begin(), stream().begin() + 700'000);
      held[c.wrong_at] ^= std::byte{1};
      disk.put(partial_name(3), held);
      const auto directory = disk.open();
      SegmentWriter writer(*directory, {kSize});
      writer.begin(1, kStart, std::array{open});
      const auto write_all = [&] {
        while (writer.position() < kStart + (1 << 20))
          writer.write(stream_between(writer.position(),
                                      std::min(kStart + (1 << 20), writer.position() + piece)));
      };
      if (!c.conflict) {
        write_all();
        run(*writer.take_sync_job());
        expect_archive(disk, kStart + (1 << 20));
        continue;
      }
      const Error error = error_of(write_all);
      EXPECT_EQ(error.kind(), ErrorKind::conflict);
      EXPECT_THAT(error.what(), HasSubstr((kStart + c.wrong_at).to_string()));
      EXPECT_LE(writer.position(), kStart + c.wrong_at);
      EXPECT_TRUE(disk.holds(partial_name(3), c.wrong_at, std::span(held).subspan(c.wrong_at, 1)));
    }
  }
}

TEST(SegmentWriter, WritesEqualTrustedBytesAgainBecauseTheDiskMayNotHaveThem) {
  // An earlier process wrote, its sync failed, it died: the page cache has what the disk has not.
  SimDisk disk;
  {
    const auto directory = disk.open();
    SegmentWriter writer(*directory, {kSize});
    writer.begin(1, kStart, {});
    writer.write(stream_between(kStart, kStart + 50'000));
    disk.fail_every(Operation::sync, EIO);
    EXPECT_EQ(error_of([&] { run(*writer.take_sync_job()); }).kind(), ErrorKind::durability);
  }
  disk.kill();
  ASSERT_TRUE(disk.holds(partial_name(3), 0, stream_between(kStart, kStart + 50'000)));
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, std::array{OpenSegment{kStart, kStart, kStart + 50'000}});
  writer.write(stream_between(kStart, kStart + 50'000));
  run(*writer.take_sync_job());
  disk.crash_losing_everything();
  expect_archive(disk, kStart + 50'000);
}

TEST(SegmentWriter, RefusesToFinishASegmentThatIsFinishedAlready) {
  for (const char* suffix : {"", ".gz", ".lz4", ".zst"}) {
    SCOPED_TRACE(suffix);
    SimDisk disk;
    disk.put(final_name(3) + suffix, test::bytes_of("of another server"));
    const auto directory = disk.open();
    SegmentWriter writer(*directory, {kSize});
    writer.begin(1, kStart, {});
    writer.write(stream_between(kStart, kStart + (1 << 20)));
    const auto job = writer.take_sync_job();
    job->sync_data();
    const Error error = error_of([&] { job->publish(); });
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_THAT(error.what(), HasSubstr(final_name(3) + suffix));
    EXPECT_EQ(test::text_of(disk.content(final_name(3) + suffix)), "of another server");
    EXPECT_TRUE(disk.exists(partial_name(3)));
  }
}

Bytes packed(std::span<const std::byte> raw, codec::Method method) {
  if (method == codec::Method::none) return {raw.begin(), raw.end()};
  Bytes out;
  const auto compressor = codec::make_compressor({method, 1}, raw.size());
  const auto sink = [&](auto bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  compressor->feed(raw, sink);
  compressor->finish(sink);
  return out;
}

TEST(SegmentWriter, ReplacesACopyThatAppearedMeanwhileIfItHasNothingElse) {
  // `cp` from an archive_command's directory, done or not.
  enum class Copy { whole, cut_off, empty, differs_at_its_end, longer };
  struct Case {
    const char* name;
    Copy copy;
    bool conflict;
  };
  for (const bool compresses : {false, true})
    for (const auto method :
         {codec::Method::none, codec::Method::gzip, codec::Method::lz4, codec::Method::zstd})
      for (const Case& c :
           {Case{"whole", Copy::whole, false}, Case{"cut off", Copy::cut_off, false},
            Case{"empty", Copy::empty, false},
            Case{"differs at its end", Copy::differs_at_its_end, true},
            Case{"longer", Copy::longer, true}}) {
        const std::string name =
            SegmentFileName{SegmentName(1, 3, kSize), method, false}.to_string();
        SCOPED_TRACE(::testing::Message()
                     << name << " is " << c.name << (compresses ? ", writes .zst" : ""));
        Bytes wal(stream().begin(), stream().begin() + (1 << 20));
        if (c.copy == Copy::differs_at_its_end) wal.back() ^= std::byte{1};
        if (c.copy == Copy::longer) wal.push_back(std::byte{0});
        Bytes copy = packed(wal, method);
        if (c.copy == Copy::cut_off) copy.resize(copy.size() / 2);
        if (c.copy == Copy::empty) copy.clear();
        SimDisk disk;
        const auto directory = disk.open();
        SegmentWriter writer(
            *directory,
            {.segment_size = kSize,
             .compression = {compresses ? codec::Method::zstd : codec::Method::none, 1}});
        writer.begin(1, kStart, {});
        writer.buffer_new_segments(compresses);
        writer.write(stream_between(kStart, kStart + (1 << 20)));
        const auto job = writer.take_sync_job();
        job->sync_data();
        disk.put(name, copy);
        if (c.conflict) {
          const Error error = error_of([&] { job->publish(); });
          EXPECT_EQ(error.kind(), ErrorKind::conflict);
          EXPECT_THAT(error.what(), HasSubstr(name));
          EXPECT_EQ(disk.content(name), copy);
          EXPECT_TRUE(disk.exists(partial_name(3)));
          continue;
        }
        job->publish();
        EXPECT_THAT(disk.names(), ElementsAre(final_name(3) + (compresses ? ".zst" : "")));
        disk.crash_losing_everything();
        expect_archive(disk, kStart + (1 << 20));
      }
}

/// A server's archive_command and a receiver complete each segment at nearly the same time.
TEST(SegmentWriter, ReplacesACopyThatAppearsJustBeforeTheRename) {
  for (const bool compresses : {false, true})
    for (const bool same : {true, false}) {
      SCOPED_TRACE(::testing::Message() << compresses << same);
      const auto name = final_name(3) + (compresses ? ".zst" : "");
      const Bytes wal(stream().begin(), stream().begin() + (1 << 20));
      const auto copy = same ? packed(wal, compresses ? codec::Method::zstd : codec::Method::none)
                             : test::bytes_of("of another server");
      SimDisk disk;
      const auto directory = disk.open();
      SegmentWriter writer(
          *directory, {.segment_size = kSize,
                       .compression = {compresses ? codec::Method::zstd : codec::Method::none, 1}});
      writer.begin(1, kStart, {});
      writer.buffer_new_segments(compresses);
      writer.write(stream_between(kStart, kStart + (1 << 20)));
      const auto job = writer.take_sync_job();
      job->sync_data();
      bool copied = false;
      disk.set_hook([&](const SimDisk::Call& call) {
        if (call.operation == SimDisk::Operation::rename && !std::exchange(copied, true))
          disk.put(name, copy);
        return SimDisk::Effect::proceed();
      });
      if (!same) {
        EXPECT_EQ(error_of([&] { job->publish(); }).kind(), ErrorKind::conflict);
        EXPECT_EQ(disk.content(name), copy);
        continue;
      }
      job->publish();
      EXPECT_THAT(disk.names(), ElementsAre(name));
      disk.crash_losing_everything();
      expect_archive(disk, kStart + (1 << 20));
    }
}

TEST(SegmentWriter, ReplacesACopyThatDiffersOnlyAfterAnXlogSwitch) {
  // As the primary's file of a segment that is received from a standby.
  WalBuilder wal({.segment_size = kSize, .start = kStart});
  wal.append_random(5000);
  wal.append_switch();
  const auto end = wal.records().back().end - kStart;
  for (const bool compresses : {false, true})
    for (const auto method : {codec::Method::none, codec::Method::gzip})
      for (const auto differs : {end, end - 1}) {
        const std::string name =
            SegmentFileName{SegmentName(1, 3, kSize), method, false}.to_string();
        SCOPED_TRACE(::testing::Message()
                     << name << " differs at " << differs << (compresses ? ", writes .zst" : ""));
        Bytes copy(wal.bytes().begin(), wal.bytes().end());
        copy[differs] ^= std::byte{1};
        copy.back() ^= std::byte{1};
        SimDisk disk;
        const auto directory = disk.open();
        SegmentWriter writer(
            *directory,
            {.segment_size = kSize,
             .compression = {compresses ? codec::Method::zstd : codec::Method::none, 1}});
        writer.begin(1, kStart, {});
        writer.buffer_new_segments(compresses);
        writer.write(wal.bytes());
        const auto job = writer.take_sync_job();
        job->sync_data();
        disk.put(name, packed(copy, method));
        if (differs < end) {
          EXPECT_EQ(error_of([&] { job->publish(); }).kind(), ErrorKind::conflict);
          continue;
        }
        job->publish();
        const auto finished_name = final_name(3) + (compresses ? ".zst" : "");
        EXPECT_THAT(disk.names(), ElementsAre(finished_name));
        EXPECT_TRUE(holds_all(disk, finished_name, wal.bytes()));
      }
}

TEST(SegmentWriter, RemovesCompressedLeftoversOfASegmentWhenItsNameIsSafe) {
  SimDisk disk;
  for (const char* suffix : {".gz.partial", ".lz4.partial"})
    disk.put(final_name(3) + suffix, test::bytes_of("front"));
  disk.put(final_name(4) + ".gz.partial", test::bytes_of("front"));
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.write(stream_between(kStart, kStart + (1 << 20)));
  std::vector<Operation> operations;
  disk.set_hook([&](const SimDisk::Call& call) {
    operations.push_back(call.operation);
    return Effect::proceed();
  });
  run(*writer.take_sync_job());
  EXPECT_THAT(disk.names(), ElementsAre(final_name(3), final_name(4) + ".gz.partial"));
  const auto rename = std::find(operations.begin(), operations.end(), Operation::rename);
  const auto sync = std::find(rename, operations.end(), Operation::sync_directory);
  EXPECT_EQ(std::find(operations.begin(), sync, Operation::remove), sync);
}

TEST(SegmentWriter, GivesAJobItsOwnFileWhileAnotherOneSyncs) {
  // The first job's sync hangs; a second one of the same segment comes through beside it.
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  std::mutex mutex;
  std::condition_variable changed;
  bool hanging = false;
  bool release = false;
  std::atomic<int> syncs = 0;
  disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation != Operation::sync || syncs++ != 0) return Effect::proceed();
    std::unique_lock lock(mutex);
    hanging = true;
    changed.notify_all();
    changed.wait(lock, [&] { return release; });
    return Effect::fail(EIO);
  });
  writer.write(stream_between(kStart, kStart + 1000));
  const auto first = writer.take_sync_job();
  std::thread thread(
      [&] { EXPECT_EQ(error_of([&] { run(*first); }).kind(), ErrorKind::durability); });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return hanging; });
  }
  writer.write(stream_between(kStart + 1000, kStart + 2000));
  const auto second = writer.take_sync_job();
  EXPECT_NO_THROW(second->sync_data());
  writer.write(stream_between(kStart + 2000, kStart + (1 << 20)));
  const auto third = writer.take_sync_job();
  EXPECT_NO_THROW(third->sync_data());
  // ... but the final name waits for the first one, and is not given when that fails.
  std::thread publisher(
      [&] { EXPECT_EQ(error_of([&] { third->publish(); }).kind(), ErrorKind::durability); });
  {
    const std::lock_guard lock(mutex);
    release = true;
    changed.notify_all();
  }
  thread.join();
  publisher.join();
  EXPECT_FALSE(disk.exists(final_name(3)));
}

TEST(SegmentWriter, OpensASegmentByRenamingTheSpare) {
  SimDisk disk;
  disk.put(".pgweir-spare", test::bytes_of("of an earlier run, not complete"));
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  EXPECT_FALSE(writer.spare_ready());
  writer.prepare_spare();
  EXPECT_TRUE(writer.spare_ready());
  EXPECT_TRUE(disk.holds(".pgweir-spare", 0, Bytes(kSize.bytes())));
  const auto before = disk.calls();
  writer.prepare_spare();
  EXPECT_EQ(disk.calls(), before);  // there is one
  disk.fail_every(Operation::create, EIO);
  writer.write(stream_between(kStart, kStart + 10));
  EXPECT_THAT(disk.names(), ElementsAre(partial_name(3)));
  EXPECT_FALSE(writer.spare_ready());
}

TEST(SegmentWriter, DoesWithoutASpareThatCouldNotBeMadeOrIsGone) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  disk.set_capacity(500'000);
  EXPECT_EQ(error_of([&] { writer.prepare_spare(); }).kind(), ErrorKind::disk_full);
  EXPECT_FALSE(writer.spare_ready());
  EXPECT_THAT(disk.names(), IsEmpty());  // and takes no space from the WAL
  disk.set_capacity(std::nullopt);
  writer.prepare_spare();
  disk.erase(".pgweir-spare");
  writer.write(stream_between(kStart, kStart + 10));
  run(*writer.take_sync_job());
  disk.crash_losing_everything();
  expect_archive(disk, kStart + 10);
}

TEST(SegmentWriter, LetsJobsRunOnSeveralThreadsWhileItWrites) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<SyncJob>> queue;
  std::vector<SegmentName> finished;
  bool done = false;
  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return done || !queue.empty(); });
      if (queue.empty()) return;
      const auto job = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      const auto names = run(*job);
      lock.lock();
      finished.insert(finished.end(), names.begin(), names.end());
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(work);
  threads.emplace_back([&] {
    while (true) {
      writer.prepare_spare();
      const std::lock_guard lock(mutex);
      if (done) return;
    }
  });
  const Lsn end = kStart + (4 << 20);
  while (writer.position() < end) {
    writer.write(stream_between(writer.position(), std::min(end, writer.position() + 60'000)));
    auto job = writer.take_sync_job();
    const std::lock_guard lock(mutex);
    queue.push_back(std::move(job));
    changed.notify_one();
  }
  {
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(finished,
              ::testing::UnorderedElementsAre(SegmentName(1, 3, kSize), SegmentName(1, 4, kSize),
                                              SegmentName(1, 5, kSize), SegmentName(1, 6, kSize)));
  disk.crash_losing_everything();
  expect_archive(disk, end);
}

TEST(SegmentWriter, ReplacesFinishedFilesThatAreKnownToBeNone) {
  const auto size = *wal::SegmentSize::of(1 << 20);
  const wal::SegmentName segment(1, 3, size);
  const std::string name = segment.to_string();
  const auto content = test::pattern(size.bytes(), 5);
  for (const bool allowed : {false, true}) {
    sim::SimDisk disk;
    disk.put(name, test::pattern(1000, 6));
    disk.put(name + ".gz", test::pattern(1000, 6));
    const auto directory = disk.open();
    SegmentWriter::Options options{.segment_size = size};
    if (allowed) options.replaceable = {name, name + ".gz"};
    SegmentWriter writer(*directory, options);
    writer.begin(1, size.start(3), {});
    writer.write(content);
    const auto job = writer.take_sync_job();
    if (!allowed) {
      EXPECT_THROW(run(*job), Error);
      continue;
    }
    run(*job);
    EXPECT_EQ(disk.names(), std::vector<std::string>{name});
    EXPECT_TRUE(disk.content(name) == content);
    writer.end();
  }
}

TEST(SegmentWriter, CollectsASegmentInMemoryUntilAJobTakesIt) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.buffer_new_segments(true);
  writer.write(stream_between(kStart, kStart + 500'000));
  EXPECT_EQ(writer.buffered_end(), kStart + 500'000);
  EXPECT_TRUE(disk.holds(partial_name(3), 0, Bytes(500'000)));  // zeros
  run(*writer.take_sync_job());
  EXPECT_TRUE(disk.holds(partial_name(3), 0, stream_between(kStart, kStart + 500'000)));
  // From there on piece by piece, since the job may still be reading the memory.
  writer.write(stream_between(kStart + 500'000, kStart + 600'000));
  EXPECT_EQ(writer.buffered_end(), kStart + 500'000);
  EXPECT_TRUE(disk.holds(partial_name(3), 0, stream_between(kStart, kStart + 600'000)));
}

TEST(SegmentWriter, CollectsALargeSegmentInPieces) {
  constexpr std::uint64_t kPiece = 256 << 10;
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {.segment_size = kSize, .largest_buffered = kPiece});
  writer.begin(1, kStart, {});
  writer.buffer_new_segments(true);
  writer.write(stream_between(kStart, kStart + kPiece));
  EXPECT_TRUE(writer.place().empty());  // the next piece is not begun
  const auto first = writer.take_sync_job();
  EXPECT_TRUE(first->writes());
  EXPECT_FALSE(first->publishes());
  EXPECT_EQ(first->end(), kStart + kPiece);
  writer.write(stream_between(kStart + kPiece, kStart + kPiece + 1000));
  EXPECT_EQ(writer.place().size(), kPiece - 1000);
  writer.write(stream_between(kStart + kPiece + 1000, kStart + 2 * kPiece + 500));
  EXPECT_EQ(writer.buffered_end(), kStart + 2 * kPiece + 500);
  EXPECT_TRUE(disk.holds(partial_name(3), 0, Bytes(3 * kPiece)));  // zeros
  // The second piece, and the front of the third.
  const auto second = writer.take_sync_job();
  second->sync_data();
  EXPECT_TRUE(disk.holds(partial_name(3), 0, Bytes(kPiece)));
  EXPECT_TRUE(disk.holds(partial_name(3), kPiece,
                         stream_between(kStart + kPiece, kStart + 2 * kPiece + 500)));
  run(*first);
  static_cast<void>(second->publish());
  disk.crash_losing_everything();
  EXPECT_TRUE(disk.holds(partial_name(3), 0, stream_between(kStart, kStart + 2 * kPiece + 500)));
}

TEST(SegmentWriter, CollectsTheRestOfALargeSegmentOnceMoreIsThere) {
  constexpr std::uint64_t kPiece = 256 << 10;
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {.segment_size = kSize, .largest_buffered = kPiece});
  writer.begin(1, kStart, {});
  writer.write(stream_between(kStart, kStart + 1000));
  writer.buffer_new_segments(true);
  writer.write(stream_between(kStart + 1000, kStart + kPiece + 10));
  EXPECT_EQ(writer.buffered_end(), kStart + kPiece + 10);
  EXPECT_TRUE(disk.holds(partial_name(3), 0, stream_between(kStart, kStart + kPiece)));
  writer.write(stream_between(kStart + kPiece + 10, kStart + kSize.bytes() + 10));
  const auto job = writer.take_sync_job();
  EXPECT_TRUE(job->publishes());
  run(*job);
  disk.crash_losing_everything();
  expect_archive(disk, kStart + kSize.bytes() + 10);
}

/// It takes all of a segment to be compressed straight away; from the page cache it can be later.
TEST(SegmentWriter, CollectsNoPiecesOfWhatIsToBeCompressed) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {.segment_size = kSize,
                                    .compression = {codec::Method::zstd, 1},
                                    .largest_buffered = 256 << 10});
  writer.begin(1, kStart, {});
  writer.buffer_new_segments(true);
  writer.write(stream_between(kStart, kStart + kSize.bytes()));
  EXPECT_EQ(writer.buffered_end(), Lsn());
  const auto job = writer.take_sync_job();
  EXPECT_FALSE(job->writes());
  run(*job);
  EXPECT_THAT(disk.names(), ElementsAre(final_name(3)));
}

TEST(SegmentWriter, TakesWhatLiesAtItsPlaceAndNothingBehindIt) {
  SimDisk disk;
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.buffer_new_segments(true);
  EXPECT_TRUE(writer.place().empty());  // no segment is begun
  writer.write(stream_between(kStart, kStart + 1000));
  auto place = writer.place();
  ASSERT_EQ(place.size(), kSize.bytes() - 1000);
  const auto piece = stream_between(kStart + 1000, kStart + 5000);
  std::fill_n(place.begin(), 9000, std::byte{0xee});  // of a message that was refused
  std::copy(piece.begin(), piece.end(), place.begin());
  writer.write(place.first(piece.size()));
  EXPECT_EQ(writer.position(), kStart + 5000);
  EXPECT_EQ(writer.place().data(), place.data() + piece.size());
  run(*writer.take_sync_job());
  EXPECT_TRUE(writer.place().empty());  // the memory is the job's
  EXPECT_TRUE(disk.holds(partial_name(3), 0, stream_between(kStart, kStart + 5000)));
  EXPECT_TRUE(disk.holds(partial_name(3), 5000, Bytes(4000)));
}

TEST(SegmentWriter, CollectsOnlyWhatBeginsInANewFile) {
  SimDisk disk;
  disk.put(partial_name(3), Bytes(kSize.bytes()));
  const auto directory = disk.open();
  SegmentWriter writer(*directory, {kSize});
  writer.begin(1, kStart, {});
  writer.buffer_new_segments(true);
  writer.write(stream_between(kStart, kStart + 100));
  EXPECT_EQ(writer.buffered_end(), Lsn());
  EXPECT_TRUE(disk.holds(partial_name(3), 0, stream_between(kStart, kStart + 100)));
}

const SegmentWriter::Options kZstd{.segment_size = kSize, .compression = {codec::Method::zstd, 1}};

void collect_a_segment(SegmentWriter& writer) {
  writer.begin(1, kStart, {});
  writer.buffer_new_segments(true);
  writer.write(stream_between(kStart, kStart + kSize.bytes()));
}

TEST(SegmentWriter, WritesNoRawCopyOfASegmentThatIsCompressedFromMemory) {
  SimDisk disk;
  std::uint64_t raw = 0;
  disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation == Operation::write && call.name.ends_with(".partial")) raw += call.bytes;
    return Effect::proceed();
  });
  const auto directory = disk.open();
  SegmentWriter writer(*directory, kZstd);
  collect_a_segment(writer);
  run(*writer.take_sync_job());
  EXPECT_EQ(raw, 0u);
  EXPECT_THAT(disk.names(), ElementsAre(final_name(3) + ".zst"));
  expect_archive(disk, kStart + kSize.bytes());
}

TEST(SegmentWriter, LeavesASegmentRawThatFindsNoSpaceToBeCompressed) {
  SimDisk disk;
  disk.set_capacity((1 << 20) + 100'000);  // the `.partial` and less than the compressed form
  const auto directory = disk.open();
  SegmentWriter writer(*directory, kZstd);
  collect_a_segment(writer);
  run(*writer.take_sync_job());
  EXPECT_THAT(disk.names(), ElementsAre(final_name(3)));
  disk.crash_losing_everything();
  expect_archive(disk, kStart + kSize.bytes());
}

TEST(SegmentWriter, LetsAJobThatFoundNoSpaceAtAllBeTriedAgain) {
  SimDisk disk;
  bool full = true;
  disk.set_hook([&](const SimDisk::Call& call) {
    return full && call.operation == Operation::write ? Effect::fail(ENOSPC) : Effect::proceed();
  });
  const auto directory = disk.open();
  SegmentWriter writer(*directory, kZstd);
  collect_a_segment(writer);
  const auto job = writer.take_sync_job();
  EXPECT_EQ(error_of([&] { job->sync_data(); }).kind(), ErrorKind::disk_full);
  EXPECT_FALSE(finished(disk, 3));
  full = false;
  run(*job);
  disk.set_hook({});
  disk.crash_losing_everything();
  expect_archive(disk, kStart + kSize.bytes());
}

}  // namespace
}  // namespace weir::archive::segment_writer_test
