#include "compress/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "archive/compress.h"
#include "archive/leftovers.h"
#include "base/error.h"
#include "support/archive_builder.h"
#include "support/just_changed.h"

namespace weir::compress::compress_test {
namespace {

using archive::is_leftover;
using archive::remove_leftovers;
using codec::Method;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using verify::packed;

/// Segments 1 raw, 2 gzip, 3 lz4, 4 zstd, 5 both raw and zstd, 6 a .partial.
struct Example {
  Example() {
    for (const auto& [name, content] : files()) archive.disk.put(name, content);
  }
  /// Made once: the tests need it anew for each of many hundred faults.
  static const std::map<std::string, test::Bytes>& files() {
    static const auto made = [] {
      WalBuilder wal{WalBuilder::Options{}};
      wal.grow_to(kSize.start(7));
      ArchiveBuilder builder;
      builder.segments(wal, 1, 2)
          .segments(wal, 2, 3, Method::gzip)
          .segments(wal, 3, 4, Method::lz4)
          .segments(wal, 4, 6, Method::zstd)
          .segments(wal, 5, 6)
          .partial(wal, kSize.start(6) + 5000);
      std::map<std::string, test::Bytes> all;
      for (const auto& name : builder.disk.names()) all[name] = builder.disk.content(name);
      return all;
    }();
    return made;
  }
  Result run(unsigned jobs = 1, std::function<bool()> stop = {}) {
    const auto directory = archive.disk.open();
    remove_leftovers(*directory, std::chrono::system_clock::time_point::max());
    Options options;
    options.compression = codec::Compression::parse("zstd:1");
    options.jobs = jobs;
    options.stop = std::move(stop);
    return compress::compress_archive(*directory, find_work(archive::list_archive(*directory)),
                                      kSize, options);
  }
  void expect_converted() {
    EXPECT_THAT(archive.disk.names(),
                ElementsAre("000000010000000000000001.zst", "000000010000000000000002.zst",
                            "000000010000000000000003.zst", "000000010000000000000004.zst",
                            "000000010000000000000005.zst", "000000010000000000000006.partial"));
    expect_same_wal();
  }
  /// Every finished file, of which there is at least one for each segment, holds its segment.
  void expect_same_wal() {
    const auto report = archive.verify();
    EXPECT_TRUE(report.sound()) << to_text(report);
    ASSERT_THAT(report.histories, SizeIs(1));
    ASSERT_THAT(report.histories[0].sound, SizeIs(1));
    EXPECT_EQ(report.histories[0].sound[0].begin, kSize.start(1));
    EXPECT_GE(report.histories[0].sound[0].end, kSize.start(6));
  }
  ArchiveBuilder archive;
};

TEST(Convert, TurnsEveryFormIntoZstd) {
  for (const unsigned jobs : {1u, 3u}) {
    Example example;
    const auto result = example.run(jobs);
    EXPECT_EQ(result.segments, 4u);
    EXPECT_THAT(result.failures, IsEmpty());
    EXPECT_GT(result.bytes_before, result.bytes_after);
    example.expect_converted();
    EXPECT_EQ(example.run().segments, 0u) << "nothing is left to do";
  }
}

TEST(Convert, LosesNothingWheneverThePowerFailsAndGoesOnFromThere) {
  const auto seed = test::seed_or(41);
  std::mt19937_64 random(seed);
  std::uint64_t calls = 0;
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example;
    bool through = false;
    example.archive.disk.reset_calls();
    example.archive.disk.lose_power_at(call);
    try {
      static_cast<void>(example.run());
      through = true;
    } catch (const sim::MachineDown&) {
    }
    example.archive.disk.set_hook({});
    if (call % 3 == 0)
      example.archive.disk.kill();
    else
      example.archive.disk.crash(random);
    example.expect_same_wal();
    EXPECT_THAT(example.run().failures, IsEmpty());
    example.expect_converted();
    calls = call;
    if (through || ::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(calls, 40u);
}

TEST(Convert, LosesNothingIfACallFails) {
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example;
    bool through = false;
    example.archive.disk.reset_calls();
    example.archive.disk.fail_at(call, call % 2 == 0 ? EIO : ENOSPC);
    try {
      through = example.run().failures.empty() && example.archive.disk.calls() < call;
    } catch (const Error&) {
    }
    example.archive.disk.set_hook({});
    example.archive.disk.crash_losing_everything();
    example.expect_same_wal();
    if (through || ::testing::Test::HasFailure()) break;
  }
}

TEST(Convert, LeavesWhatIsDamagedAsItIs) {
  const struct {
    const char* name;
    const char* file;
    void (*damage)(ArchiveBuilder&, const std::string& file);
  } cases[] = {
      {"a record", "000000010000000000000001",
       [](ArchiveBuilder& a, const std::string& file) { a.flip(file, 100'004, 1); }},
      {"too short", "000000010000000000000001",
       [](ArchiveBuilder& a, const std::string& file) {
         auto bytes = a.disk.content(file);
         bytes.resize(bytes.size() - 1);
         a.disk.put(file, bytes);
       }},
      {"empty", "000000010000000000000001",
       [](ArchiveBuilder& a, const std::string& file) { a.disk.put(file, {}); }},
      {"a broken frame", "000000010000000000000002.gz",
       [](ArchiveBuilder& a, const std::string& file) {
         auto bytes = a.disk.content(file);
         bytes.resize(bytes.size() - 4);
         a.disk.put(file, bytes);
       }},
      {"a flipped bit in a frame", "000000010000000000000003.lz4",
       [](ArchiveBuilder& a, const std::string& file) { a.flip(file, 5'000, 1); }},
      {"two forms that differ", "000000010000000000000005",
       [](ArchiveBuilder& a, const std::string& file) { a.flip(file, 5'000, 1); }},
  };
  for (const auto& [name, file, damage] : cases) {
    SCOPED_TRACE(name);
    Example example;
    damage(example.archive, file);
    const auto before = example.archive.disk.content(file);
    const auto result = example.run(2);
    ASSERT_THAT(result.failures, SizeIs(1));
    EXPECT_EQ(result.failures[0].file, file);
    EXPECT_FALSE(result.failures[0].hint.empty() && result.failures[0].what.empty());
    EXPECT_EQ(result.segments, 3u);
    EXPECT_EQ(example.archive.disk.content(file), before);
    for (const auto& left : example.archive.disk.names()) EXPECT_FALSE(is_leftover(left)) << left;
  }
}

/// Another program copies it directly to its final name: it still does, or writes the rest after
/// the content was read and before the time is checked, or the file is damaged.
TEST(Convert, LeavesWhatIsBeingCopiedToTheNextRun) {
  enum class Case { goes_on, ends, damaged };
  for (const auto test : {Case::goes_on, Case::ends, Case::damaged})
    for (const std::string name : {"000000010000000000000001", "000000010000000000000002.gz"}) {
      SCOPED_TRACE(::testing::Message() << name << ", case " << static_cast<int>(test));
      Example example;
      auto& disk = example.archive.disk;
      const auto whole = disk.content(name);
      auto part = whole;
      if (test == Case::damaged)
        part[name.ends_with(".gz") ? part.size() / 2 : 100'004] ^= std::byte{1};
      else
        part.resize(part.size() / 2);
      disk.put(name, part);
      bool was_opened = false;
      bool done = test != Case::ends;
      disk.set_hook([&](const sim::SimDisk::Call& call) {
        using Operation = sim::SimDisk::Operation;
        if (call.name == name && call.operation == Operation::open) was_opened = true;
        if (call.name == name && call.operation == Operation::find && was_opened &&
            !std::exchange(done, true))
          disk.put(name, whole);
        return sim::SimDisk::Effect::proceed();
      });
      test::JustChanged directory(disk.open());
      Options options;
      options.compression = codec::Compression::parse("zstd:1");
      options.jobs = 1;
      const auto result = compress::compress_archive(
          directory, find_work(archive::list_archive(directory)), kSize, options);
      disk.set_hook({});
      EXPECT_THAT(result.failures, SizeIs(test == Case::damaged ? 1 : 0));
      EXPECT_EQ(result.segments, test == Case::ends ? 4u : 3u);
      if (test == Case::ends)
        example.expect_converted();
      else
        EXPECT_EQ(disk.content(name), part);
    }
}

TEST(Convert, TakesFilesForEqualThatDifferOnlyAfterAnXlogSwitch) {
  WalBuilder wal{WalBuilder::Options{}};
  wal.append_random(5000);
  wal.append_switch();
  const auto end = wal.records().back().end - kSize.start(1);
  for (const auto differs : {end, end - 1}) {
    SCOPED_TRACE(differs);
    ArchiveBuilder builder;
    builder.segments(wal, 1, 2);
    const auto content = ArchiveBuilder::content(wal, 1);
    test::Bytes other(content.begin(), content.end());
    other[differs] ^= std::byte{1};
    builder.disk.put(ArchiveBuilder::name(wal, 1, Method::zstd), packed(Method::zstd, other));
    const auto directory = builder.disk.open();
    Options options;
    options.compression = codec::Compression::parse("zstd:1");
    const auto result = compress::compress_archive(
        *directory, find_work(archive::list_archive(*directory)), kSize, options);
    EXPECT_THAT(result.failures, SizeIs(differs < end ? 1 : 0));
    EXPECT_THAT(builder.disk.names(), SizeIs(differs < end ? 2 : 1));
    EXPECT_TRUE(builder.disk.exists(ArchiveBuilder::name(wal, 1, Method::zstd)));
  }
}

TEST(Convert, DoesNotDisturbTheReceiversOwnCompression) {
  // At each call of ours, the receiver compresses the same segment from start to end.
  for (std::uint64_t call = 1; call < 400; ++call) {
    SCOPED_TRACE(call);
    Example example;
    auto& disk = example.archive.disk;
    const auto receiver = disk.open();
    bool inside = false, done = false;
    disk.reset_calls();
    disk.set_hook([&](const sim::SimDisk::Call& now) {
      if (now.number == call && !inside) {
        inside = done = true;
        archive::compress_segment(*receiver, wal::SegmentName(1, 1, kSize), kSize,
                                  codec::Compression::parse("zstd:1"), [] { return false; });
      }
      return sim::SimDisk::Effect::proceed();
    });
    const auto result = example.run();
    disk.set_hook({});
    EXPECT_THAT(result.failures, IsEmpty())
        << (result.failures.empty() ? "" : result.failures[0].what);
    example.expect_converted();
    if (!done) break;
  }
}

TEST(Convert, IsNotDisturbedByAFileThatSomebodyElseIsThroughWith) {
  // Segment 5 is there in two forms: the receiver removes the raw one, or a prune removes both.
  for (const bool prune : {false, true})
    for (std::uint64_t call = 1; call < 400; ++call) {
      SCOPED_TRACE(::testing::Message() << (prune ? "prune" : "receiver") << ", call " << call);
      Example example;
      auto& disk = example.archive.disk;
      bool done = false;
      disk.reset_calls();
      disk.set_hook([&](const sim::SimDisk::Call& now) {
        if (now.number != call || done) return sim::SimDisk::Effect::proceed();
        done = true;
        disk.erase("000000010000000000000005");
        if (prune) disk.erase("000000010000000000000005.zst");
        return sim::SimDisk::Effect::proceed();
      });
      const auto result = example.run();
      disk.set_hook({});
      EXPECT_THAT(result.failures, IsEmpty())
          << (result.failures.empty() ? "" : result.failures[0].what);
      if (!done) break;
    }
}

TEST(Convert, TakesNothingFromTheReceiversOwnCompression) {
  // The other way round: at each call of the receiver's.
  for (std::uint64_t call = 1; call < 400; ++call) {
    SCOPED_TRACE(call);
    Example example;
    auto& disk = example.archive.disk;
    const auto receiver = disk.open();
    bool done = false;
    disk.reset_calls();
    disk.set_hook([&](const sim::SimDisk::Call& now) {
      if (now.number == call && !done) {
        done = true;
        static_cast<void>(example.run());
      }
      return sim::SimDisk::Effect::proceed();
    });
    try {
      archive::compress_segment(*receiver, wal::SegmentName(1, 1, kSize), kSize,
                                codec::Compression::parse("zstd:1"), [] { return false; });
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::conflict) << "but for who was first: " << error.what();
    }
    disk.set_hook({});
    if (!done) break;
    example.expect_converted();
  }
}

TEST(Convert, LeavesTheFilesOfAnotherRunAtWorkAlone) {
  // At each call of one run, another one begins and looks for what was left behind.
  for (std::uint64_t call = 1; call < 400; ++call) {
    SCOPED_TRACE(call);
    Example example;
    auto& disk = example.archive.disk;
    bool done = false;
    disk.reset_calls();
    disk.set_hook([&](const sim::SimDisk::Call& now) {
      if (now.number == call && !done) {
        done = true;
        remove_leftovers(*disk.open(), std::chrono::system_clock::time_point::max());
      }
      return sim::SimDisk::Effect::proceed();
    });
    const auto result = example.run();
    disk.set_hook({});
    EXPECT_THAT(result.failures, IsEmpty())
        << (result.failures.empty() ? "" : result.failures[0].what);
    example.expect_converted();
    if (!done) break;
  }
}

TEST(Convert, RemovesWhatAKilledRunLeftAtOnce) {
  Example example;
  auto& disk = example.archive.disk;
  const auto leftovers = [&] {
    const auto names = disk.names();
    return std::count_if(names.begin(), names.end(),
                         [](const std::string& name) { return is_leftover(name); });
  };
  disk.set_hook([](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::sync ? sim::SimDisk::Effect::down()
                                                           : sim::SimDisk::Effect::proceed();
  });
  EXPECT_THROW(static_cast<void>(example.run()), sim::MachineDown);
  disk.kill();
  EXPECT_EQ(leftovers(), 1);
  // Its age plays no part where the lock tells.
  remove_leftovers(*disk.open(), std::chrono::system_clock::time_point::min());
  EXPECT_EQ(leftovers(), 0);
}

TEST(Convert, DropsItsFileIfThePruneTookTheSegment) {
  int late = 0;
  for (std::uint64_t call = 1; call < 400; ++call) {
    SCOPED_TRACE(call);
    Example example;
    auto& disk = example.archive.disk;
    bool done = false;
    disk.reset_calls();
    disk.set_hook([&](const sim::SimDisk::Call& now) {
      if (now.number == call && !done) {
        done = true;
        disk.erase("000000010000000000000001");
        disk.erase("000000010000000000000001.zst");
      }
      return sim::SimDisk::Effect::proceed();
    });
    static_cast<void>(example.run());
    disk.set_hook({});
    if (!done) break;
    const auto left = disk.names();
    if (std::any_of(left.begin(), left.end(), [](const std::string& name) {
          return name.find("000000010000000000000001") != std::string::npos;
        }))
      ++late;
  }
  // Between the last look and the rename: to take it back then could take the last form there is.
  EXPECT_LE(late, 1);
}

TEST(Convert, StopsBetweenPiecesAndLeavesNothingBehind) {
  Example example;
  int asked = 0;
  const auto result = example.run(1, [&] { return ++asked > 6; });
  EXPECT_TRUE(result.stopped);
  EXPECT_LT(result.segments, 4u);
  for (const auto& name : example.archive.disk.names()) EXPECT_FALSE(is_leftover(name)) << name;
  example.expect_same_wal();
  EXPECT_THAT(example.run().failures, IsEmpty());
  example.expect_converted();
}

TEST(Convert, EndsIfTheDiskIsFull) {
  Example example;
  example.archive.disk.set_capacity(example.archive.disk.used_bytes() + 8192);
  try {
    static_cast<void>(example.run());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::disk_full);
  }
  example.archive.disk.set_capacity(std::nullopt);
  example.expect_same_wal();
  for (const auto& name : example.archive.disk.names()) EXPECT_FALSE(is_leftover(name)) << name;
}

}  // namespace
}  // namespace weir::compress::compress_test
