#include "store/ledger/lost_segments.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/units.h"

namespace weir::store {

bool record_lost(io::Directory& archive, const std::set<wal::SegmentName>& lost,
                 const archive::Identity& cluster, const std::string& place, Log& log, Lost how) {
  std::vector<archive::Loss> holes;
  for (const auto& segment : lost) {
    const auto begin = segment.start(cluster.segment_size);
    const auto end = begin + cluster.segment_size.bytes();
    if (!holes.empty() && holes.back().timeline == segment.timeline() &&
        holes.back().end == begin) {
      holes.back().end = end;
      continue;
    }
    archive::Loss hole;
    hole.timeline = hole.next_timeline = segment.timeline();
    hole.begin = hole.sound_end = hole.counted_to = begin;
    hole.end = end;
    hole.system_identifier = cluster.system_identifier;
    hole.segment_size = cluster.segment_size;
    hole.found = format_time(std::chrono::system_clock::now());
    hole.cause = how == Lost::after_upload
                     ? fmt::format("gone from the store ({}), and not in the archive", place)
                     : fmt::format("gone from the archive, and not sent to the store ({})", place);
    holes.push_back(std::move(hole));
  }
  bool fresh = false;
  for (const auto& hole : holes) {
    if (!archive::record_loss(archive, hole, archive::Longer::kept)) continue;
    log.warning("the WAL from {} to {} on timeline {} is lost: it is recorded as {}", hole.begin,
                hole.end, hole.timeline, hole.id());
    fresh = true;
  }
  return fresh;
}

const archive::Loss* hole_with(std::span<const archive::Loss> losses, wal::SegmentName segment,
                               wal::SegmentSize size) {
  const auto start = segment.start(size);
  const auto found = std::find_if(losses.begin(), losses.end(), [&](const archive::Loss& loss) {
    return loss.kind == archive::Loss::Kind::hole && loss.timeline == segment.timeline() &&
           loss.begin <= start && start < loss.end;
  });
  return found == losses.end() ? nullptr : &*found;
}

Error lost_error(const std::string& object) {
  return Error(ErrorKind::gap,
               "a segment that was sent is gone from the store, and from the archive")
      .with("object", object)
      .hint(
          "Find out which program removes objects there. Import the segment from another archive "
          "(\"pgweir import\"), or take a base backup now: no recovery can pass this segment.");
}

}  // namespace weir::store
