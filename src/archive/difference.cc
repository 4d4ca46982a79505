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

/// The first and last segment that an archive has of a history: what it lacks between is a hole.
class Extent {
 public:
  Extent(wal::TimelineId timeline, const Timelines& timelines, wal::SegmentSize size)
      : timeline_(timeline), history_(timelines.history(timeline)), size_(size) {
    const auto known = timelines.known();
    if (timeline > 1 && std::find(known.begin(), known.end(), timeline) == known.end())
      history_.reset();
  }

  void add(wal::SegmentName segment) {
    if (!is_along(segment)) return;
    const auto segno = segment.segno(size_);
    oldest_ = std::min(oldest_.value_or(segno), segno);
    newest_ = std::max(newest_.value_or(segno), segno);
  }
  [[nodiscard]] bool surrounds(wal::SegmentName segment) const {
    const auto segno = segment.segno(size_);
    return oldest_ && *oldest_ < segno && segno < *newest_ && is_along(segment);
  }

 private:
  /// If the ancestors are not known, each older timeline may be one.
  [[nodiscard]] bool is_along(wal::SegmentName segment) const {
    if (!history_) return segment.timeline() <= timeline_;
    return segment.timeline() == timeline_of_segment(*history_, segment.segno(size_), size_);
  }

  wal::TimelineId timeline_;
  std::optional<wal::TimelineHistory> history_;
  wal::SegmentSize size_;
  std::optional<std::uint64_t> oldest_, newest_;
};

/// The segments that `having` has and `lacking` lacks.
std::vector<SegmentRange> ranges(const Segments& having, const Segments& lacking,
                                 const Timelines& timelines, wal::SegmentSize size) {
  std::vector<Extent> extents;
  std::optional<wal::TimelineId> before;
  for (const auto& segment : lacking)
    if (std::exchange(before, segment.timeline()) != segment.timeline())
      extents.emplace_back(segment.timeline(), timelines, size);
  for (auto& extent : extents)
    for (const auto& segment : lacking) extent.add(segment);
  Segments missing;
  std::set_difference(having.begin(), having.end(), lacking.begin(), lacking.end(),
                      std::back_inserter(missing));
  std::vector<SegmentRange> found;
  for (const auto& segment : missing) {
    const auto segno = segment.segno(size);
    const bool hole = std::any_of(extents.begin(), extents.end(),
                                  [&](const Extent& extent) { return extent.surrounds(segment); });
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

std::vector<wal::TimelineId> with_histories(const Listing& listing) {
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

Difference difference(const Listing& one, const Listing& other, const Timelines& timelines,
                      wal::SegmentSize size) {
  const auto left = finished_segments(one, size);
  const auto right = finished_segments(other, size);
  Difference found{.only_one = ranges(left, right, timelines, size),
                   .only_other = ranges(right, left, timelines, size)};
  std::set_intersection(left.begin(), left.end(), right.begin(), right.end(),
                        std::back_inserter(found.both));
  const auto here = with_histories(one);
  const auto there = with_histories(other);
  std::set_difference(here.begin(), here.end(), there.begin(), there.end(),
                      std::back_inserter(found.histories_only_one));
  std::set_difference(there.begin(), there.end(), here.begin(), here.end(),
                      std::back_inserter(found.histories_only_other));
  return found;
}

}  // namespace weir::archive
