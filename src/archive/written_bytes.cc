#include "archive/written_bytes.h"

#include <algorithm>
#include <array>
#include <span>

#include "archive/segment_writer.h"
#include "wal/page.h"

namespace weir::archive {

std::uint64_t written_bytes(io::Bytes& file, wal::Lsn start, wal::SegmentSize size) {
  const auto is_written = [&](std::uint64_t page) {
    std::array<std::byte, wal::kLongHeaderSize> bytes;
    const auto count = file.read_at(page * wal::kPageSize, bytes);
    const auto header = wal::decode_page_header(std::span(bytes).first(count));
    return header && header->address == start + page * wal::kPageSize &&
           wal::major_version_of_magic(header->magic).has_value();
  };
  const auto there = std::min(file.size(), size.bytes());
  std::uint64_t low = 0;  // pages below it are written
  auto high = (there + wal::kPageSize - 1) / wal::kPageSize;
  const auto piece = piece_bytes(size, kLargestBuffered) / wal::kPageSize;
  while (high - low > piece && is_written(low + piece - 1)) low += piece;
  high = std::min(high, low + piece);
  while (low < high) {
    const auto middle = low + (high - low) / 2;
    if (is_written(middle))
      low = middle + 1;
    else
      high = middle;
  }
  return std::min(low * wal::kPageSize, there);
}

}  // namespace weir::archive
