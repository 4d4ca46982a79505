#include "wal/unfinished_reader.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/bytes.h"
#include "support/wal_builder.h"

namespace weir::wal {
namespace {

using testing::WalBuilder;

const SegmentSize kSize = *SegmentSize::of(1 << 20);

/// Reads it in pieces as the verifier of its segment alone.
bool is_written_behind(std::span<const std::byte> content, std::size_t piece) {
  RecordVerifier verifier({.segment_size = kSize}, kSize.start(3));
  UnfinishedReader reader(verifier, kSize.start(3));
  for (; !content.empty(); content = content.subspan(std::min(piece, content.size())))
    reader.take(content.first(std::min(piece, content.size())));
  reader.finish();
  EXPECT_TRUE(reader.damage());
  return reader.written_behind();
}

/// A server renames old files for later use: its records are valid where no record of the segment
/// tells which ones are older.
TEST(UnfinishedReader, TakesOldContentForNothing) {
  WalBuilder wal({.switch_every = 0});
  wal.grow_to(kSize.start(3));
  wal.append_random(60'000);
  const auto after = wal.append_random(100);
  wal.grow_to(kSize.start(4));
  const auto old = wal.bytes(kSize.start(1), kSize.start(2));
  const auto now = wal.bytes(kSize.start(3), kSize.start(4));
  for (const std::size_t piece : {1000, 8192, 1 << 20}) {
    SCOPED_TRACE(piece);
    EXPECT_FALSE(is_written_behind(old, piece));
    // After the first pages of a segment that begins within a record.
    test::Bytes content(now.begin(), now.end());
    for (const std::size_t pages : {2, 6, 9, 20}) {
      std::copy(old.begin() + static_cast<std::ptrdiff_t>(pages * kPageSize), old.end(),
                content.begin() + static_cast<std::ptrdiff_t>(pages * kPageSize));
      EXPECT_FALSE(is_written_behind(content, piece)) << pages;
      std::copy(now.begin(), now.end(), content.begin());
    }
    content[after.start - kSize.start(3) + 50] ^= std::byte{1};
    EXPECT_TRUE(is_written_behind(content, piece));
  }
}

}  // namespace
}  // namespace weir::wal
