#include "archive/compare.h"

#include <algorithm>
#include <span>
#include <vector>

#include "archive/content.h"
#include "archive/digest.h"
#include "archive/segment_reader.h"

namespace weir::archive {

namespace {

// Both contents are push streams, and a segment may have 1 GB: one is therefore kept as a digest
// for each block, and the first differing block is read again.

constexpr std::size_t kBlock = 64 * 1024;

Digest digest(std::span<const std::byte> bytes) {
  Digest digest;
  digest.add(bytes);
  return digest;
}

/// Calls `take(index, block)` for each block of the content before `upto`, until it returns false.
template <typename Take>
void for_each_block(io::Shelf& directory, const SegmentFileName& name, wal::SegmentSize size,
                    std::uint64_t upto, Take take) {
  std::vector<std::byte> block;
  block.reserve(kBlock);
  std::uint64_t left = upto;
  std::size_t index = 0;
  bool more = true;
  const auto flush = [&] {
    if (!block.empty()) more = take(index++, std::span<const std::byte>(block));
    block.clear();
    return more;
  };
  read_segment(directory, name, size, [&](std::span<const std::byte> wal) {
    wal = wal.first(static_cast<std::size_t>(std::min<std::uint64_t>(wal.size(), left)));
    left -= wal.size();
    while (!wal.empty()) {
      const auto piece = wal.first(std::min(wal.size(), kBlock - block.size()));
      block.insert(block.end(), piece.begin(), piece.end());
      wal = wal.subspan(piece.size());
      if (block.size() == kBlock && !flush()) return false;
    }
    // A whole segment is still read to its end, because its checksum follows the data.
    return left > 0 || upto == size.bytes();
  });
  if (more) flush();
}

}  // namespace

std::optional<std::uint64_t> first_difference(io::Shelf& directory, const SegmentFileName& left,
                                              const SegmentFileName& right,
                                              wal::SegmentSize segment_size, std::uint64_t upto) {
  return first_difference(directory, left, directory, right, segment_size, upto);
}

std::optional<std::uint64_t> first_difference(io::Shelf& left_shelf, const SegmentFileName& left,
                                              io::Shelf& right_shelf, const SegmentFileName& right,
                                              wal::SegmentSize segment_size, std::uint64_t upto) {
  std::vector<Digest> digests;
  for_each_block(left_shelf, left, segment_size, upto, [&](std::size_t, auto block) {
    digests.push_back(digest(block));
    return true;
  });
  std::optional<std::size_t> differs;
  std::vector<std::byte> right_block;
  std::size_t blocks = 0;
  for_each_block(right_shelf, right, segment_size, upto, [&](std::size_t index, auto block) {
    ++blocks;
    if (index < digests.size() && digest(block) == digests[index]) return true;
    differs = index;
    right_block.assign(block.begin(), block.end());
    return false;
  });
  if (!differs && blocks == digests.size()) return std::nullopt;
  if (!differs) return blocks * kBlock;  // the right one ends first, at a block's boundary

  const auto at = *differs * kBlock;
  std::optional<std::uint64_t> offset = at;
  for_each_block(left_shelf, left, segment_size, upto, [&](std::size_t index, auto block) {
    if (index < *differs) return true;
    const auto [mine, other] =
        std::mismatch(block.begin(), block.end(), right_block.begin(), right_block.end());
    offset = at + static_cast<std::uint64_t>(mine - block.begin());
    // The same after all: a .partial that grew in between.
    if (mine == block.end() && other == right_block.end()) offset = std::nullopt;
    return false;
  });
  return offset;
}

std::uint64_t meaningful_bytes(const wal::RecordVerifier& verifier, wal::Lsn start,
                               wal::SegmentSize segment_size) {
  return verifier.inside_record() || !verifier.last_record_end().valid()
             ? segment_size.bytes()
             : verifier.records_end() - start;
}

std::uint64_t meaningful_bytes(io::Bytes& file, codec::Method method, wal::SegmentName segment,
                               wal::SegmentSize segment_size) {
  const auto start = segment.start(segment_size);
  wal::RecordVerifier verifier({.segment_size = segment_size, .timeline = segment.timeline()},
                               start);
  bool sound = true;
  read_content(file, method, segment.to_string(), [&](std::span<const std::byte> wal) {
    sound = !verifier.feed(wal);
    return sound;
  });
  return sound ? meaningful_bytes(verifier, start, segment_size) : segment_size.bytes();
}

}  // namespace weir::archive
