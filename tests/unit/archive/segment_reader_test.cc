#include "archive/segment_reader.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "support/bytes.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::archive {
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

ReadResult read(sim::SimDisk& disk, const SegmentFileName& name) {
  ReadResult result;
  const auto directory = disk.open();
  try {
    const auto count = read_segment(*directory, name, kSize, [&](std::span<const std::byte> wal) {
      EXPECT_LE(wal.size(), kPiece);
      result.bytes.insert(result.bytes.end(), wal.begin(), wal.end());
    });
    EXPECT_EQ(count, result.bytes.size());
  } catch (const Error& error) {
    result.error = error.kind();
    result.what = error.what();
  }
  return result;
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

TEST(ReadSegment, LetsPassWhatItsSinkThrows) {
  const auto raw = wal_of_segment();
  for (const auto method : kMethods) {
    sim::SimDisk disk;
    const SegmentFileName name{kName, method, false};
    disk.put(name.to_string(), pack(raw, method));
    try {
      read_segment(*disk.open(), name, kSize, [](std::span<const std::byte>) {
        throw Error(ErrorKind::damage, "the sink's own");
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

}  // namespace
}  // namespace weir::archive
