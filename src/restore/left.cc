#include "restore/left.h"

#include <algorithm>

#include "restore/history.h"
#include "wal/timeline_history.h"

namespace weir::restore {

std::vector<Left> lefts_of(io::Shelf& pg_wal, wal::TimelineId timeline) {
  std::vector<Left> lefts;
  for (const auto& entry : pg_wal.names()) {
    const auto descendant = wal::parse_history_name(entry.name);
    if (!descendant || *descendant <= timeline) continue;
    const auto content = read_history_file(pg_wal, *descendant);
    const auto history =
        content ? wal::TimelineHistory::parse(*descendant, *content) : std::nullopt;
    const auto end = history ? history->end_of(timeline) : std::nullopt;
    const auto file = end ? pg_wal.find(entry.name) : std::nullopt;
    if (file) lefts.push_back({*end, *descendant, file->modified});
  }
  for (auto& left : lefts)
    left.is_copy = std::any_of(lefts.begin(), lefts.end(), [&](const Left& newer) {
      return newer.by > left.by && newer.written <= left.written;
    });
  return lefts;
}

bool may_be_in(wal::Lsn at, wal::SegmentName segment) {
  // IsValidWalSegSize() in access/xlog_internal.h; the simulation's segments are smaller.
  constexpr std::uint64_t kMost = std::uint64_t{1} << 30;
  for (std::uint64_t bytes = 1; bytes <= kMost; bytes *= 2)
    if (const auto size = wal::SegmentSize::of(bytes);
        size && segment.fits(*size) && size->segno(at) == segment.segno(*size))
      return true;
  return false;
}

bool may_be_left_in(io::Shelf& pg_wal, wal::SegmentName segment) {
  const auto lefts = lefts_of(pg_wal, segment.timeline());
  return std::any_of(lefts.begin(), lefts.end(),
                     [&](const Left& left) { return may_be_in(left.at, segment); });
}

}  // namespace weir::restore
