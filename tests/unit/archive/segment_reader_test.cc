#include "archive/segment_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <regex>

#include "base/error.h"
#include "support/bytes.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::archive::segment_reader_test {
namespace {

using codec::Method;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
const wal::SegmentName kName(1, 3, kSize);
constexpr Method kMethods[] = {Method::none, Method::gzip, Method::lz4, Method::zstd};

test::Bytes pack(std::span<const std::byte> raw, Method method) {
  if (method == Method::none) return {raw.begin(), raw.end()};
  test::Bytes packed;
  const auto sink = [&](std::span<const std::byte> piece) {
    packed.insert(packed.end(), piece.begin(), piece.end());
  };
  const int level = method == Method::zstd ? 3 : 1;
  const auto compressor = codec::make_compressor({method, level}, raw.size());
  compressor->feed(raw, sink);
  compressor->finish(sink);
  return packed;
}

test::Bytes wal_of_segment() {
  weir::testing::WalBuilder builder({.start = kName.start(kSize)});
  const auto bytes = builder.bytes(builder.start(), builder.start() + kSize.bytes());
  return {bytes.begin(), bytes.end()};
}

struct ReadResult {
  test::Bytes bytes;
  std::optional<ErrorKind> error;
  std::string what;
};

using Reader = decltype(&read_segment);

ReadResult read_by(Reader reader, sim::SimDisk& disk, const SegmentFileName& name) {
  ReadResult result;
  const auto directory = disk.open();
  try {
    const auto count = reader(*directory, name, kSize, [&](std::span<const std::byte> wal) {
      EXPECT_LE(wal.size(), kPiece);
      result.bytes.insert(result.bytes.end(), wal.begin(), wal.end());
      return true;
    });
    EXPECT_EQ(count, result.bytes.size());
  } catch (const Error& error) {
    result.error = error.kind();
    result.what = error.what();
  }
  return result;
}

/// The thread that reads may be ahead of the one that finds the content too long.
std::string without_file_offset(const std::string& what) {
  return std::regex_replace(what, std::regex(", offset in the file [0-9]+"), "");
}

/// With a second thread for frames alone.
std::uint64_t read_frames_in_two_threads(io::Shelf& directory, const SegmentFileName& name,
                                         wal::SegmentSize segment_size, const codec::Sink& sink) {
  return read_segment_in_two_threads(directory, name, segment_size, sink, Processor::kept_busy);
}
std::uint64_t read_in_two_threads(io::Shelf& directory, const SegmentFileName& name,
                                  wal::SegmentSize segment_size, const codec::Sink& sink) {
  return read_segment_in_two_threads(directory, name, segment_size, sink);
}

/// With one thread and with two: to the one who asks it is the same.
ReadResult read(sim::SimDisk& disk, const SegmentFileName& name) {
  const auto result = read_by(read_segment, disk, name);
  for (const auto reader : {read_in_two_threads, read_frames_in_two_threads}) {
    const auto with_two = read_by(reader, disk, name);
    EXPECT_EQ(result.bytes, with_two.bytes);
    EXPECT_EQ(result.error, with_two.error);
    EXPECT_EQ(without_file_offset(result.what), without_file_offset(with_two.what));
  }
  return result;
}

/// Of frames of these sizes, each by itself.
test::Bytes pack_in_frames(std::span<const std::byte> raw, const std::vector<std::size_t>& sizes) {
  test::Bytes file;
  for (const auto size : sizes) {
    const auto frame = pack(
        test::Bytes(raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(size)), Method::zstd);
    file.insert(file.end(), frame.begin(), frame.end());
    raw = raw.subspan(size);
  }
  EXPECT_TRUE(raw.empty());
  return file;
}

TEST(ReadSegment, GivesTheSameWalFromEveryForm) {
  const auto raw = wal_of_segment();
  for (const auto method : kMethods) {
    const SegmentFileName name{kName, method, false};
    SCOPED_TRACE(name.to_string());
    sim::SimDisk disk;
    disk.put(name.to_string(), pack(raw, method));
    const auto result = read(disk, name);
    EXPECT_FALSE(result.error) << result.what;
    EXPECT_EQ(result.bytes, raw);
    const auto page = read_first_page_header(*disk.open(), name);
    ASSERT_TRUE(page);
    EXPECT_EQ(page->segment_size, kSize.bytes());
    EXPECT_EQ(page->address, kName.start(kSize));
  }
}

TEST(ReadSegment, TakesAFinishedFileOnlyInFullSize) {
  const auto raw = wal_of_segment();
  for (const auto method : kMethods)
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, raw.size() / 2, raw.size() - 1,
                                   raw.size() + 1, raw.size() * 2}) {
      SCOPED_TRACE(fmt::format("{} {}", static_cast<int>(method), size));
      auto content = raw;
      content.resize(size);
      sim::SimDisk disk;
      const SegmentFileName name{kName, method, false};
      disk.put(name.to_string(), pack(content, method));
      const auto result = read(disk, name);
      EXPECT_EQ(result.error, ErrorKind::damage) << result.what;
      EXPECT_NE(result.what.find(name.to_string()), std::string::npos) << result.what;
      EXPECT_LE(result.bytes.size(), raw.size());
    }
}

TEST(ReadSegment, GivesOfAPartialWhatIsThere) {
  const auto raw = wal_of_segment();
  for (const auto method : kMethods) {
    const SegmentFileName name{kName, method, true};
    SCOPED_TRACE(name.to_string());
    auto packed = pack(raw, method);
    packed.resize(packed.size() / 2);
    sim::SimDisk disk;
    disk.put(name.to_string(), packed);
    const auto result = read(disk, name);
    EXPECT_FALSE(result.error) << result.what;
    ASSERT_LT(result.bytes.size(), raw.size());
    EXPECT_TRUE(std::equal(result.bytes.begin(), result.bytes.end(), raw.begin()));
    if (method == Method::none) {
      EXPECT_EQ(result.bytes.size(), packed.size());
    }
  }
}

TEST(ReadSegment, SaysWhichFileIsGone) {
  sim::SimDisk disk;
  const auto result = read(disk, {kName, Method::zstd, false});
  EXPECT_EQ(result.error, ErrorKind::io);
  EXPECT_NE(result.what.find(".zst"), std::string::npos);
}

TEST(ReadSegment, EndsWhereItsSinkHasEnoughAndLooksAtNothingBehind) {
  const auto raw = wal_of_segment();
  for (const auto method : kMethods) {
    auto packed = pack(raw, method);
    if (method != Method::none) packed.resize(packed.size() - 5);
    sim::SimDisk disk;
    const SegmentFileName name{kName, method, false};
    disk.put(name.to_string(), packed);
    for (const auto reader : {read_segment, read_in_two_threads, read_frames_in_two_threads})
      for (const std::size_t enough : {std::size_t{1}, std::size_t{300'000}}) {
        SCOPED_TRACE(fmt::format("{} {}", static_cast<int>(method), enough));
        test::Bytes got;
        const auto count = reader(*disk.open(), name, kSize, [&](std::span<const std::byte> wal) {
          EXPECT_LT(got.size(), enough) << "called again";
          got.insert(got.end(), wal.begin(), wal.end());
          return got.size() < enough;
        });
        EXPECT_EQ(count, got.size());
        EXPECT_LT(got.size(), raw.size());
        EXPECT_TRUE(std::equal(got.begin(), got.end(), raw.begin()));
      }
  }
}

TEST(ReadSegment, EndsInTheMiddleOfManyFrames) {
  const auto raw = wal_of_segment();
  sim::SimDisk disk;
  const SegmentFileName name{kName, Method::zstd, false};
  disk.put(name.to_string(), pack_in_frames(raw, std::vector<std::size_t>(16, raw.size() / 16)));
  for (std::size_t enough = 1; enough < raw.size(); enough += raw.size() / 7)
    for (const auto reader : {read_in_two_threads, read_frames_in_two_threads}) {
      std::size_t given = 0;
      const auto count = reader(*disk.open(), name, kSize, [&](std::span<const std::byte> wal) {
        EXPECT_LT(given, enough) << "called again";
        given += wal.size();
        return given < enough;
      });
      EXPECT_EQ(count, given);
    }
}

TEST(ReadSegment, LetsPassWhatItsSinkThrows) {
  const auto raw = wal_of_segment();
  for (const auto method : kMethods) {
    sim::SimDisk disk;
    const SegmentFileName name{kName, method, false};
    disk.put(name.to_string(), pack(raw, method));
    for (const auto reader : {read_segment, read_in_two_threads})
      for (const std::size_t after : {std::size_t{0}, std::size_t{500'000}}) try {
          std::size_t given = 0;
          reader(*disk.open(), name, kSize, [&](std::span<const std::byte> wal) {
            given += wal.size();
            if (given > after) throw Error(ErrorKind::damage, "the sink's own");
            return true;
          });
          ADD_FAILURE() << "nothing was thrown";
        } catch (const Error& error) {
          EXPECT_STREQ(error.what(), "the sink's own");
        }
  }
}

TEST(ReadSegment, FindsEveryFlippedBitOfACompressedForm) {
  const auto raw = wal_of_segment();
  std::mt19937_64 random(test::seed_or(17));
  for (const auto method : {Method::gzip, Method::lz4, Method::zstd}) {
    const auto packed = pack(raw, method);
    for (int i = 0; i < 60; ++i) {
      auto damaged = packed;
      // The front, where the frame's own fields are, more often than the rest.
      const auto at = i < 30 ? random() % 32 : random() % packed.size();
      const auto bit = random() % 8;
      damaged[at] ^= static_cast<std::byte>(1u << bit);
      SCOPED_TRACE(fmt::format("{} byte {} bit {}", static_cast<int>(method), at, bit));
      sim::SimDisk disk;
      const SegmentFileName name{kName, method, false};
      disk.put(name.to_string(), damaged);
      const auto result = read(disk, name);
      // Some bits of a gzip header (time, system) mean nothing.
      if (result.error) {
        EXPECT_EQ(result.error, ErrorKind::damage) << result.what;
      } else {
        EXPECT_EQ(result.bytes, raw);
      }
    }
  }
}

std::vector<codec::Frame> frames_of(std::span<const std::byte> packed, std::uint64_t content_size) {
  const codec::ReadAt read_at = [&](std::uint64_t offset, std::span<std::byte> bytes) {
    const auto there = packed.subspan(std::min<std::size_t>(offset, packed.size()));
    const auto count = std::min(there.size(), bytes.size());
    std::copy_n(there.begin(), count, bytes.begin());
    return count;
  };
  return codec::find_frames(Method::zstd, read_at, packed.size(), content_size);
}

/// In the file.
std::size_t begin_of_last_frame(std::span<const std::byte> packed, std::uint64_t content_size) {
  const auto frames = frames_of(packed, content_size);
  return frames.empty() ? 0 : static_cast<std::size_t>(frames.back().offset);
}

TEST(ReadSegment, FindsAFrameThatIsMissingTooManyOrInAWrongPlace) {
  const auto raw = wal_of_segment();
  const auto packed = pack(raw, Method::zstd);
  const auto border = begin_of_last_frame(packed, raw.size());
  ASSERT_GT(border, 0u);
  const auto front = std::span(packed).first(border);
  const auto back = std::span(packed).subspan(border);
  struct Case {
    const char* name;
    std::vector<std::span<const std::byte>> frames;
  };
  for (const auto& c : {Case{"ends at the frames' border", {front}}, Case{"begins there", {back}},
                        Case{"the last one twice", {front, back, back}},
                        Case{"the first one twice", {front, front, back}},
                        Case{"twice as a whole", {front, back, front, back}},
                        Case{"a cut one behind", {front, back, back.first(10)}}}) {
    SCOPED_TRACE(c.name);
    test::Bytes file;
    for (const auto frame : c.frames) file.insert(file.end(), frame.begin(), frame.end());
    sim::SimDisk disk;
    const SegmentFileName name{kName, Method::zstd, false};
    disk.put(name.to_string(), file);
    EXPECT_EQ(read(disk, name).error, ErrorKind::damage);
  }
}

/// The bytes from `offset` on.
ReadResult read_from(sim::SimDisk& disk, const SegmentFileName& name, std::uint64_t offset) {
  ReadResult result;
  try {
    read_segment_from(*disk.open(), name, kSize, offset, [&](std::span<const std::byte> wal) {
      result.bytes.insert(result.bytes.end(), wal.begin(), wal.end());
      return true;
    });
  } catch (const Error& error) {
    result.error = error.kind();
    result.what = error.what();
  }
  return result;
}

TEST(ReadSegment, UnpacksFramesOfAnySizesInOrder) {
  const auto raw = wal_of_segment();
  std::mt19937_64 random(test::seed_or(18));
  for (int round = 0; round < 20; ++round) {
    std::vector<std::size_t> sizes;
    for (auto left = raw.size(); left > 0; left -= sizes.back())
      sizes.push_back(std::min<std::size_t>(left, 1 + random() % (raw.size() / 3)));
    SCOPED_TRACE(fmt::format("round {}, {} frames", round, sizes.size()));
    sim::SimDisk disk;
    const SegmentFileName name{kName, Method::zstd, false};
    disk.put(name.to_string(), pack_in_frames(raw, sizes));
    const auto result = read(disk, name);
    EXPECT_FALSE(result.error) << result.what;
    EXPECT_EQ(result.bytes, raw);
    const auto offset = random() % raw.size();
    EXPECT_EQ(read_from(disk, name, offset).bytes,
              test::Bytes(raw.begin() + static_cast<std::ptrdiff_t>(offset), raw.end()));
  }
}

TEST(ReadSegment, GivesWhatIsSoundBeforeADamageInAnyOfManyFrames) {
  const auto raw = wal_of_segment();
  const std::vector<std::size_t> sizes(8, raw.size() / 8);
  const auto packed = pack_in_frames(raw, sizes);
  std::mt19937_64 random(test::seed_or(19));
  for (int i = 0; i < 60; ++i) {
    auto damaged = packed;
    const auto at = random() % packed.size();
    damaged[at] ^= static_cast<std::byte>(1u << random() % 8);
    SCOPED_TRACE(fmt::format("byte {}", at));
    sim::SimDisk disk;
    const SegmentFileName name{kName, Method::zstd, false};
    disk.put(name.to_string(), damaged);
    const auto result = read(disk, name);  // the same with one thread and with two
    EXPECT_EQ(result.error, ErrorKind::damage) << result.what;
    EXPECT_LT(result.bytes.size(), raw.size());
  }
}

TEST(ReadSegment, LetsPassWhatItsSinkThrowsInTheMiddleOfManyFrames) {
  const auto raw = wal_of_segment();
  sim::SimDisk disk;
  const SegmentFileName name{kName, Method::zstd, false};
  disk.put(name.to_string(), pack_in_frames(raw, std::vector<std::size_t>(16, raw.size() / 16)));
  for (std::size_t after = 0; after < raw.size(); after += raw.size() / 7) try {
      std::size_t given = 0;
      read_segment_in_two_threads(*disk.open(), name, kSize, [&](std::span<const std::byte> wal) {
        given += wal.size();
        if (given > after) throw Error(ErrorKind::damage, "the sink's own");
        return true;
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "the sink's own");
    }
}

TEST(ReadSegment, GivesItsEndFromEveryForm) {
  const auto raw = wal_of_segment();
  for (const auto method : kMethods)
    for (const std::size_t offset : {std::size_t{0}, std::size_t{8192}, raw.size() - 70'000,
                                     raw.size() - 65'536, raw.size() - 8192, raw.size()}) {
      SCOPED_TRACE(fmt::format("{} {}", static_cast<int>(method), offset));
      sim::SimDisk disk;
      const SegmentFileName name{kName, method, false};
      disk.put(name.to_string(), pack(raw, method));
      const auto result = read_from(disk, name, offset);
      EXPECT_FALSE(result.error) << result.what;
      EXPECT_EQ(result.bytes,
                test::Bytes(raw.begin() + static_cast<std::ptrdiff_t>(offset), raw.end()));
    }
}

TEST(ReadSegment, GivesTheEndThatIsSoundBehindADamagedFrontAndNoOther) {
  const auto raw = wal_of_segment();
  const SegmentFileName name{kName, Method::zstd, false};
  const auto packed = pack(raw, Method::zstd);
  const auto end = raw.size() - 8192;
  const auto border = begin_of_last_frame(packed, raw.size());
  ASSERT_GT(border, 0u);
  auto damaged = packed;
  damaged[border - 5] ^= std::byte{1};  // of the front's checksum, or next to it
  sim::SimDisk disk;
  disk.put(name.to_string(), damaged);
  EXPECT_EQ(read(disk, name).error, ErrorKind::damage);
  EXPECT_EQ(read_from(disk, name, 0).error, ErrorKind::damage);
  EXPECT_EQ(read_from(disk, name, end).bytes,
            test::Bytes(raw.begin() + static_cast<std::ptrdiff_t>(end), raw.end()));

  damaged = packed;
  damaged[damaged.size() - 2] ^= std::byte{1};
  disk.put(name.to_string(), damaged);
  const auto result = read_from(disk, name, end);
  EXPECT_EQ(result.error, ErrorKind::damage);
  EXPECT_NE(result.what.find(name.to_string()), std::string::npos) << result.what;
}

}  // namespace
}  // namespace weir::archive::segment_reader_test
