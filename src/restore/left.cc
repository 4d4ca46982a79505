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
    if (end) lefts.push_back({*end, *descendant});
  }
  return lefts;
}

bool may_be_left_in(io::Shelf& pg_wal, wal::SegmentName segment) {
  const auto lefts = lefts_of(pg_wal, segment.timeline());
  // IsValidWalSegSize() in access/xlog_internal.h.
  constexpr std::uint64_t kLeast = std::uint64_t{1} << 20, kMost = std::uint64_t{1} << 30;
  return std::any_of(lefts.begin(), lefts.end(), [&](const Left& left) {
    for (auto bytes = kLeast; bytes <= kMost; bytes *= 2) {
      const auto size = wal::SegmentSize::of(bytes).value();
      if (segment.fits(size) && size.segno(left.at) == segment.segno(size)) return true;
    }
    return false;
  });
}

}  // namespace weir::restore
