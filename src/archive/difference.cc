#include "archive/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "archive/forms.h"

namespace weir::archive {

namespace {

using Segments = std::vector<wal::SegmentName>;

/// Each once, in order.
Segments finished_segments(const Listing& listing, wal::SegmentSize size) {
  Segments segments;
  for (const auto& forms : segment_forms(listing))
    if (!forms.finished.empty() && forms.segment().fits(size)) segments.push_back(forms.segment());
  return segments;
}

/// The segments that `having` has and `lacking` lacks.
std::vector<SegmentRange> ranges(const Segments& having, const Segments& lacking,
                                 wal::SegmentSize size) {
  std::optional<std::uint64_t> oldest, newest;
  for (const auto& segment : lacking) {
    const auto segno = segment.segno(size);
    oldest = std::min(oldest.value_or(segno), segno);
    newest = std::max(newest.value_or(segno), segno);
  }
  Segments missing;
  std::set_difference(having.begin(), having.end(), lacking.begin(), lacking.end(),
                      std::back_inserter(missing));
  std::vector<SegmentRange> found;
  for (const auto& segment : missing) {
    const auto segno = segment.segno(size);
    const bool hole = oldest && *oldest < segno && segno < *newest;
    auto* const last = found.empty() ? nullptr : &found.back();
    if (last != nullptr && last->last.timeline() == segment.timeline() &&
        last->last.segno(size) + 1 == segno && last->hole == hole) {
      last->last = segment;
      ++last->segments;
    } else {
      found.push_back({.first = segment, .last = segment, .hole = hole});
    }
  }
  return found;
}

std::vector<wal::TimelineId> timelines(const Listing& listing) {
  std::vector<wal::TimelineId> found;
  for (const auto& history : listing.histories) found.push_back(history.timeline);
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace

std::string to_text(const SegmentRange& range) {
  if (range.segments == 1) return range.first.to_string();
  return fmt::format("{} to {} ({} segments)", range.first, range.last, range.segments);
}

Difference difference(const Listing& one, const Listing& other, wal::SegmentSize size) {
  const auto left = finished_segments(one, size);
  const auto right = finished_segments(other, size);
  Difference found{.only_one = ranges(left, right, size), .only_other = ranges(right, left, size)};
  std::set_intersection(left.begin(), left.end(), right.begin(), right.end(),
                        std::back_inserter(found.both));
  const auto here = timelines(one);
  const auto there = timelines(other);
  std::set_difference(here.begin(), here.end(), there.begin(), there.end(),
                      std::back_inserter(found.histories_only_one));
  std::set_difference(there.begin(), there.end(), here.begin(), here.end(),
                      std::back_inserter(found.histories_only_other));
  return found;
}

}  // namespace weir::archive
