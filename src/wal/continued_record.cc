#include "wal/continued_record.h"

namespace weir::wal {

Lsn end_of_continued_record(Lsn segment_start, std::uint32_t remaining) {
  auto at = segment_start + kLongHeaderSize;
  std::uint64_t left = remaining;
  for (;;) {
    const auto room = kPageSize - at.byte() % kPageSize;
    if (left <= room) break;
    left -= room;
    at = at + room + kShortHeaderSize;
  }
  return Lsn((at.byte() + left + 7) & ~std::uint64_t{7});
}

Lsn last_record_end_in_segment(const RecordVerifier& verifier, Lsn segment_start,
                               const std::optional<PageHeader>& first_page) {
  const auto last = verifier.last_record_end();
  if (last.valid() || !first_page || first_page->address != segment_start ||
      !first_page->first_is_continuation())
    return last;
  const auto end = end_of_continued_record(segment_start, first_page->remaining);
  return end <= verifier.position() ? end : last;
}

}  // namespace weir::wal
