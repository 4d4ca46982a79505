#include "archive/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "archive/content.h"
#include "archive/find_losses.h"
#include "base/error.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::archive::compress_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;
using test::Bytes;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Operation = SimDisk::Operation;
using Effect = SimDisk::Effect;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
const wal::SegmentName kSegment(1, 3, kSize);
const std::string kRaw = kSegment.to_string();
const std::string kZstd = kRaw + ".zst";
const std::string kTemporary = ".pgweir-" + kZstd + ".tmp";
const codec::Compression kCompression = {codec::Method::zstd, 1};

const Bytes& content() {
  static const Bytes bytes = test::pattern(kSize.bytes(), 11);
  return bytes;
}

Bytes compressed(const Bytes& raw, codec::Method method = codec::Method::zstd) {
  Bytes out;
  const codec::PackedSink sink = [&](auto bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  const auto compressor = codec::make_compressor({method, 1}, raw.size());
  compressor->feed(raw, sink);
  compressor->finish(sink);
  return out;
}

Bytes read(io::Directory& directory, const std::string& name, codec::Method method) {
  Bytes out;
  const auto file = directory.open_for_reading(name);
  read_content(*file, method, name, [&](auto bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return true;
  });
  return out;
}

/// Whatever has a final name is complete, and at least one form is there.
void expect_sound(SimDisk& disk) {
  const auto directory = disk.open();
  int forms = 0;
  if (disk.exists(kRaw)) {
    ++forms;
    EXPECT_TRUE(disk.content(kRaw) == content());
  }
  if (disk.exists(kZstd)) {
    ++forms;
    EXPECT_TRUE(read(*directory, kZstd, codec::Method::zstd) == content());
  }
  EXPECT_GE(forms, 1);
}

/// What each start does: clean up, then compress what is left.
void start(io::Directory& directory) {
  clean_up(directory, list_archive(directory));
  for (const auto& segment : uncompressed_segments(list_archive(directory)))
    compress_segment(directory, segment, kSize, kCompression, {});
}

TEST(CompressSegment, ReplacesTheRawFormByTheCompressedOne) {
  for (const auto method : {codec::Method::zstd, codec::Method::gzip, codec::Method::lz4}) {
    const std::string name = kRaw + std::string(codec::suffix(method));
    SCOPED_TRACE(name);
    SimDisk disk;
    disk.put(kRaw, content());
    const auto directory = disk.open();
    EXPECT_TRUE(compress_segment(*directory, kSegment, kSize, {method, 1}, {}));
    EXPECT_THAT(disk.names(), ElementsAre(name));
    EXPECT_TRUE(read(*directory, name, method) == content());
    EXPECT_TRUE(compress_segment(*directory, kSegment, kSize, {method, 1}, {}));  // nothing left
    disk.crash_losing_everything();
    EXPECT_TRUE(disk.exists(name));
  }
}

TEST(CompressSegment, IsDoneIfAnotherProgramWasQuicker) {
  for (const bool same : {true, false}) {
    SCOPED_TRACE(same);
    SimDisk disk;
    disk.put(kRaw, content());
    disk.set_hook([&](const SimDisk::Call& call) {
      if (call.operation == Operation::rename && call.to == kZstd)
        disk.put(kZstd, compressed(same ? content() : test::pattern(kSize.bytes(), 12)));
      return Effect::proceed();
    });
    const auto compress = [&] {
      EXPECT_TRUE(compress_segment(*disk.open(), kSegment, kSize, kCompression, {}));
    };
    if (same) {
      compress();
      EXPECT_THAT(disk.names(), ElementsAre(kZstd));
      expect_sound(disk);
    } else {
      EXPECT_EQ(error_of(compress).kind(), ErrorKind::conflict);
      EXPECT_THAT(disk.names(), ElementsAre(kRaw, kZstd));
    }
  }
}

TEST(CompressSegment, KeepsOneSoundFormThroughAPowerLossAtAnyCall) {
  std::mt19937_64 random(test::seed_or(1));
  bool ran_through = false;
  for (std::uint64_t n = 1; !ran_through; ++n) {
    for (int round = 0; round < 5; ++round) {
      SCOPED_TRACE(::testing::Message() << "call " << n << " round " << round);
      SimDisk disk;
      disk.put(kRaw, content());
      disk.lose_power_at(n);
      try {
        start(*disk.open());
        ran_through = true;
      } catch (const MachineDown&) {
      }
      if (round == 0)
        disk.crash_losing_everything();
      else if (round == 1)
        disk.kill();
      else
        disk.crash(random);
      expect_sound(disk);
      start(*disk.open());  // the next run brings it to its end
      EXPECT_THAT(disk.names(), ElementsAre(kZstd));
      disk.crash(random);
      expect_sound(disk);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(CompressSegment, KeepsOneSoundFormWhenAnyCallFails) {
  for (const int code : {EIO, ENOSPC}) {
    for (std::uint64_t n = 1;; ++n) {
      SCOPED_TRACE(::testing::Message() << "call " << n << " errno " << code);
      SimDisk disk;
      disk.put(kRaw, content());
      disk.fail_at(n, code);
      const std::uint64_t before = disk.calls();
      bool failed = false;
      try {
        start(*disk.open());
      } catch (const Error& error) {
        failed = true;
        EXPECT_NE(error.kind(), ErrorKind::conflict) << error.what();
      }
      if (!failed && disk.calls() - before < n) break;  // it ran through before the call came
      disk.set_hook({});
      std::mt19937_64 random(n);
      disk.crash(random);
      expect_sound(disk);
      start(*disk.open());
      EXPECT_THAT(disk.names(), ElementsAre(kZstd));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(CompressSegment, LeavesNoTemporaryFileOnAFullDisk) {
  SimDisk disk;
  disk.put(kRaw, content());
  disk.set_capacity((1 << 20) + 100'000);
  const auto directory = disk.open();
  EXPECT_EQ(
      error_of([&] { compress_segment(*directory, kSegment, kSize, kCompression, {}); }).kind(),
      ErrorKind::disk_full);
  EXPECT_THAT(disk.names(), ElementsAre(kRaw));
}

TEST(CompressSegment, StopsBetweenPiecesAndLeavesNothing) {
  for (int pieces = 0;; ++pieces) {
    SCOPED_TRACE(pieces);
    SimDisk disk;
    disk.put(kRaw, content());
    const auto directory = disk.open();
    int asked = 0;
    if (compress_segment(*directory, kSegment, kSize, kCompression,
                         [&] { return asked++ == pieces; })) {
      EXPECT_GT(pieces, 4);  // it was asked during compression and comparison
      break;
    }
    EXPECT_THAT(disk.names(), ElementsAre(kRaw));
    ASSERT_LT(pieces, 1000);
  }
}

TEST(CompressSegment, ComparesWithACompressedFormThatIsThere) {
  Bytes other = content();
  other.back() ^= std::byte{1};
  Bytes shorter(content().begin(), content().end() - 1);
  Bytes longer = content();
  longer.push_back(std::byte{0});
  struct Case {
    const char* name;
    const char* suffix;
    Bytes file;
    std::optional<ErrorKind> error;
  };
  for (const Case& c : {Case{"equal", ".zst", compressed(content()), std::nullopt},
                        Case{"equal in another form", ".gz",
                             compressed(content(), codec::Method::gzip), std::nullopt},
                        Case{"another byte", ".zst", compressed(other), ErrorKind::conflict},
                        Case{"shorter", ".zst", compressed(shorter), ErrorKind::conflict},
                        Case{"longer", ".zst", compressed(longer), ErrorKind::conflict},
                        Case{"broken", ".zst", test::bytes_of("x"), ErrorKind::damage}}) {
    SCOPED_TRACE(c.name);
    SimDisk disk;
    disk.put(kRaw, content());
    disk.put(kRaw + c.suffix, c.file);
    const auto directory = disk.open();
    if (!c.error) {
      EXPECT_TRUE(compress_segment(*directory, kSegment, kSize, kCompression, {}));
      EXPECT_THAT(disk.names(), ElementsAre(kRaw + c.suffix));
      continue;
    }
    const Error error =
        error_of([&] { compress_segment(*directory, kSegment, kSize, kCompression, {}); });
    EXPECT_EQ(error.kind(), *c.error);
    EXPECT_THAT(error.what(), HasSubstr(kRaw + c.suffix));
    EXPECT_TRUE(disk.content(kRaw) == content());
    EXPECT_TRUE(disk.content(kRaw + c.suffix) == c.file);
  }
}

TEST(CompressSegment, IsDoneIfTheFilesDifferOnlyAfterAnXlogSwitch) {
  testing::WalBuilder wal({.segment_size = kSize, .start = kSegment.start(kSize)});
  wal.append_random(5000);
  wal.append_switch();
  const auto end = wal.records().back().end - kSegment.start(kSize);
  for (const auto differs : {end, end - 1}) {
    SCOPED_TRACE(differs);
    const Bytes raw(wal.bytes().begin(), wal.bytes().end());
    auto other = raw;
    other[differs] ^= std::byte{1};
    other.back() ^= std::byte{1};
    SimDisk disk;
    disk.put(kRaw, raw);
    disk.put(kZstd, compressed(other));
    const auto directory = disk.open();
    const auto compress = [&] {
      EXPECT_TRUE(compress_segment(*directory, kSegment, kSize, kCompression, {}));
    };
    if (differs < end) {
      EXPECT_EQ(error_of(compress).kind(), ErrorKind::conflict);
      EXPECT_THAT(disk.names(), ElementsAre(kRaw, kZstd));
      continue;
    }
    compress();
    EXPECT_THAT(disk.names(), ElementsAre(kZstd));
    EXPECT_TRUE(read(*directory, kZstd, codec::Method::zstd) == other);
  }
}

TEST(CompressSegment, SyncsACompressedFormOfOthersBeforeItRemovesTheRawOne) {
  SimDisk disk;
  disk.put(kRaw, content());
  {
    const auto directory = disk.open();
    directory->create(kZstd)->write_at(0, compressed(content()));
    EXPECT_TRUE(compress_segment(*directory, kSegment, kSize, kCompression, {}));
  }
  disk.crash_losing_everything();
  expect_sound(disk);
  EXPECT_TRUE(disk.exists(kZstd));
}

TEST(CompressSegment, RefusesARawFileOfTheWrongSize) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{(1 << 20) - 1}, std::size_t{2 << 20}}) {
    SCOPED_TRACE(size);
    SimDisk disk;
    disk.put(kRaw, Bytes(size));
    const auto directory = disk.open();
    const Error error =
        error_of([&] { compress_segment(*directory, kSegment, kSize, kCompression, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_THAT(error.what(), HasSubstr(std::to_string(size)));
    EXPECT_THAT(disk.names(), ElementsAre(kRaw));
  }
}

TEST(CleanUp, RemovesHiddenFilesOfOursOnly) {
  SimDisk disk;
  const std::vector<std::string> ours = {".pgweir-spare", kTemporary,
                                         ".pgweir-00000002.history.tmp"};
  const std::vector<std::string> others = {".lost",       ".pgweir-",         ".pgweir-notes.tmp",
                                           ".pgweir.ini", ".pgweir-" + kZstd, kRaw,
                                           kRaw + ".tmp"};
  for (const auto& name : ours) disk.put(name, {});
  for (const auto& name : others) disk.put(name, {});
  const auto directory = disk.open();
  clean_up(*directory, list_archive(*directory));
  EXPECT_THAT(disk.names(), ::testing::UnorderedElementsAreArray(others));
}

TEST(UncompressedSegments, AreTheFinishedRawOnesOldestFirst) {
  SimDisk disk;
  for (const char* name :
       {"000000020000000000000004", "000000010000000000000005", "000000010000000000000003",
        "000000010000000000000002.zst", "000000010000000000000006.partial",
        "000000010000000000000001.gz", "00000002.history"})
    disk.put(name, {});
  const auto directory = disk.open();
  EXPECT_THAT(uncompressed_segments(list_archive(*directory)),
              ElementsAre(wal::SegmentName(1, 3, kSize), wal::SegmentName(1, 5, kSize),
                          wal::SegmentName(2, 4, kSize)));
}

const std::string kPartial = kRaw + ".partial";

/// 300,000 bytes of WAL and zeros behind them.
Bytes unfinished(std::size_t written = 300'000) {
  Bytes bytes = content();
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(written), bytes.end(), std::byte{0});
  bytes[written - 1] = std::byte{7};
  return bytes;
}

Bytes front(const Bytes& bytes, std::size_t count) {
  return Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
}

TEST(CompressPartial, EndsWhereTheWalEnds) {
  for (const auto method : {codec::Method::gzip, codec::Method::lz4}) {
    const std::string name = kRaw + std::string(codec::suffix(method)) + ".partial";
    SCOPED_TRACE(name);
    // What is known to be written may end with zeros; what is found behind it counts as well.
    for (const auto& [known, end] :
         {std::pair{300'000, 300'000}, {300'100, 300'100}, {5, 300'000}}) {
      SimDisk disk;
      disk.put(kPartial, unfinished());
      const auto directory = disk.open();
      compress_partial(*directory, kSegment, kSize, method, static_cast<std::uint64_t>(known));
      EXPECT_THAT(disk.names(), ElementsAre(name));
      EXPECT_TRUE(read(*directory, name, method) ==
                  front(unfinished(), static_cast<std::size_t>(end)));
      compress_partial(*directory, kSegment, kSize, method, 300'000);  // nothing left to do
      disk.crash_losing_everything();
      EXPECT_TRUE(disk.exists(name));
    }
  }
}

/// A stream that begins the segment again, and ends before it is where the one before it was.
TEST(CompressPartial, KeepsTheZerosWithWhichItsLastRecordEnds) {
  for (const std::size_t length : {100, 101, 4000}) {
    SCOPED_TRACE(length);
    testing::WalBuilder builder({.segment_size = kSize, .start = kSegment.start(kSize)});
    builder.append_random(20'000);
    Bytes body = test::pattern(length, 12);
    std::fill(body.end() - 40, body.end(), std::byte{0});
    const auto end = builder.append(10, 0, body).end;
    const auto wal = builder.bytes(builder.start(), end);
    Bytes raw(kSize.bytes());
    std::copy(wal.begin(), wal.end(), raw.begin());
    SimDisk disk;
    disk.put(kPartial, raw);
    const auto directory = disk.open();
    compress_partial(*directory, kSegment, kSize, codec::Method::gzip, 5'000);
    EXPECT_TRUE(read(*directory, kRaw + ".gz.partial", codec::Method::gzip) ==
                front(raw, wal.size()));
    EXPECT_EQ(sound_end(*directory, list_archive(*directory), 1, builder.start(), kSize), end);
  }
}

/// The same for a record that begins in the segment before (seed 54888 of e745578d): its checksum
/// is there.
TEST(CompressPartial, KeepsTheZerosWithWhichARecordOfTheSegmentBeforeEnds) {
  const auto start = kSegment.start(kSize);
  testing::WalBuilder builder(
      {.segment_size = kSize, .start = wal::Lsn(start.byte() - kSize.bytes())});
  while (builder.end().byte() + 10'000 < start.byte()) builder.append(10, 0, test::pattern(900, 3));
  Bytes body = test::pattern(20'000, 12);
  std::fill(body.end() - 40, body.end(), std::byte{0});
  const auto end = builder.append(10, 0, body).end;
  ASSERT_GT(end, start);
  const auto wal = builder.bytes(start, end);
  Bytes raw(kSize.bytes());
  std::copy(wal.begin(), wal.end(), raw.begin());
  SimDisk disk;
  disk.put(wal::SegmentName(1, kSegment.segno(kSize) - 1, kSize).to_string(),
           builder.bytes(builder.start(), start));
  disk.put(kPartial, raw);
  const auto directory = disk.open();
  compress_partial(*directory, kSegment, kSize, codec::Method::lz4, 5'000);
  EXPECT_TRUE(read(*directory, kRaw + ".lz4.partial", codec::Method::lz4) ==
              front(raw, wal.size()));
  EXPECT_EQ(sound_end(*directory, list_archive(*directory), 1, builder.start(), kSize), end);
}

TEST(CompressPartial, IsNotPreventedByADamagedHistory) {
  const wal::SegmentName segment(2, kSegment.segno(kSize), kSize);
  SimDisk disk;
  disk.put("00000002.history.gz", test::bytes_of("rubbish"));
  disk.put(segment.to_string() + ".partial", unfinished());
  const auto directory = disk.open();
  compress_partial(*directory, segment, kSize, codec::Method::lz4, 300'000);
  EXPECT_TRUE(disk.exists(segment.to_string() + ".lz4.partial"));
}

TEST(CompressPartial, LeavesNothingOfAnEmptyOne) {
  SimDisk disk;
  disk.put(kPartial, Bytes(kSize.bytes()));
  compress_partial(*disk.open(), kSegment, kSize, codec::Method::gzip, 0);
  EXPECT_THAT(disk.names(), IsEmpty());
}

TEST(CompressPartial, KeepsAnOlderFormThatHoldsMore) {
  const std::string gzip = kRaw + ".gz.partial";
  SimDisk disk;
  const auto more = compressed(front(unfinished(), 200'000), codec::Method::gzip);
  disk.put(gzip, more);
  disk.put(kPartial, unfinished(100'000));
  auto raw = unfinished(100'000);
  raw[99'999] = unfinished()[99'999];
  disk.put(kPartial, raw);
  compress_partial(*disk.open(), kSegment, kSize, codec::Method::lz4, 100'000);
  EXPECT_THAT(disk.names(), ElementsAre(gzip));
  EXPECT_TRUE(disk.content(gzip) == more);
}

TEST(CompressPartial, FlushesAnOlderFormThatHoldsMoreBeforeItRemovesTheRawOne) {
  const std::string gzip = kRaw + ".gz.partial";
  const auto more = compressed(front(unfinished(), 200'000), codec::Method::gzip);
  SimDisk disk;
  disk.put(kPartial, front(unfinished(), 100'000));
  {
    const auto directory = disk.open();
    directory->create(gzip)->write_at(0, more);
    compress_partial(*directory, kSegment, kSize, codec::Method::gzip, 100'000);
  }
  disk.crash_losing_everything();
  EXPECT_THAT(disk.names(), ElementsAre(gzip));
  EXPECT_TRUE(disk.content(gzip) == more);
}

TEST(CompressPartial, ReplacesOlderFormsThatHoldLessAlsoIfTheyAreCutOff) {
  for (const bool cut : {false, true}) {
    SimDisk disk;
    auto less = compressed(front(unfinished(), 200'000), codec::Method::gzip);
    if (cut) less.resize(less.size() / 2);
    disk.put(kRaw + ".gz.partial", less);
    disk.put(kPartial, unfinished());
    const auto directory = disk.open();
    compress_partial(*directory, kSegment, kSize, codec::Method::lz4, 300'000);
    EXPECT_THAT(disk.names(), ElementsAre(kRaw + ".lz4.partial"));
    EXPECT_TRUE(read(*directory, kRaw + ".lz4.partial", codec::Method::lz4) ==
                front(unfinished(), 300'000));
  }
}

TEST(CompressPartial, TouchesNothingIfTheFormsDiffer) {
  SimDisk disk;
  auto other = front(unfinished(), 200'000);
  other[1000] ^= std::byte{1};
  disk.put(kRaw + ".gz.partial", compressed(other, codec::Method::gzip));
  disk.put(kPartial, unfinished());
  const auto names = disk.names();
  const auto directory = disk.open();
  EXPECT_EQ(error_of([&] {
              compress_partial(*directory, kSegment, kSize, codec::Method::gzip, 300'000);
            }).kind(),
            ErrorKind::conflict);
  EXPECT_EQ(disk.names(), names);
}

TEST(CompressPartial, KeepsTheWalThroughAPowerLossAtAnyCall) {
  std::mt19937_64 random(test::seed_or(1));
  const std::string name = kRaw + ".gz.partial";
  bool ran_through = false;
  for (std::uint64_t n = 1; !ran_through; ++n) {
    for (int round = 0; round < 5; ++round) {
      SCOPED_TRACE(::testing::Message() << "call " << n << " round " << round);
      SimDisk disk;
      disk.put(name, compressed(front(unfinished(), 100'000), codec::Method::gzip));
      disk.put(kPartial, unfinished());
      disk.lose_power_at(n);
      try {
        compress_partial(*disk.open(), kSegment, kSize, codec::Method::gzip, 300'000);
        ran_through = true;
      } catch (const MachineDown&) {
      }
      if (round == 0)
        disk.crash_losing_everything();
      else if (round == 1)
        disk.kill();
      else
        disk.crash(random);
      const auto directory = disk.open();
      const bool raw = disk.exists(kPartial) && disk.content(kPartial) == unfinished();
      const bool packed = disk.exists(name) && read(*directory, name, codec::Method::gzip) ==
                                                   front(unfinished(), 300'000);
      ASSERT_TRUE(raw || packed);
    }
  }
}

TEST(CleanUp, RemovesAPartialOfZerosBesideItsCompressedFormAndNoOther) {
  const auto partial = [](std::uint64_t segno) {
    return wal::SegmentName(1, segno, kSize).to_string() + ".partial";
  };
  SimDisk disk;
  disk.put(kZstd, compressed(content()));
  disk.put(partial(3), Bytes(kSize.bytes()));
  disk.put(partial(4), Bytes(kSize.bytes()));  // no finished form: the segment that comes next
  const auto directory = disk.open();
  clean_up(*directory, list_archive(*directory));
  EXPECT_THAT(disk.names(), ElementsAre(kZstd, partial(4)));

  Bytes something(kSize.bytes());
  something[kSize.bytes() - 1] = std::byte{1};
  disk.put(partial(3), something);  // a person has to see it
  clean_up(*directory, list_archive(*directory));
  EXPECT_TRUE(disk.exists(partial(3)));
}

/// A process that was killed has renamed the compressed form, and not synced the name.
TEST(CleanUp, KeepsAPartialOfZerosUntilTheNameBesideItIsDurable) {
  const auto partial = kRaw + ".partial";
  const std::string hidden = ".pgweir-" + kZstd + ".tmp";
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    SimDisk disk;
    disk.put(hidden, compressed(content()));
    disk.put(partial, Bytes(kSize.bytes()));
    {
      const auto directory = disk.open();
      directory->rename_no_replace(hidden, kZstd);
      clean_up(*directory, list_archive(*directory));
    }
    disk.crash(random);
    EXPECT_TRUE(disk.exists(kZstd) || disk.exists(partial));
  }
}

}  // namespace
}  // namespace weir::archive::compress_test
