#include "restore/absence.h"

#include <fmt/format.h>

#include <algorithm>

namespace weir::restore {

namespace {

using archive::SegmentEntry;

const SegmentEntry* find_partial(wal::SegmentName segment, const archive::Listing& listing) {
  const auto found = std::find_if(
      listing.segments.begin(), listing.segments.end(), [&](const SegmentEntry& entry) {
        return entry.name.partial && entry.name.segment == segment && entry.bytes.value() > 0;
      });
  return found == listing.segments.end() ? nullptr : &*found;
}

std::string partial_remark(const SegmentEntry* partial) {
  return partial == nullptr
             ? std::string()
             : fmt::format("; {} is there, but unfinished", partial->name.to_string());
}

}  // namespace

const SegmentEntry* find_later(wal::SegmentName segment, const archive::Listing& listing,
                               const archive::Timelines& timelines, wal::SegmentSize size,
                               bool partials) {
  const auto timeline = segment.timeline();
  const auto segno = segment.segno(size);
  // Segments come timeline by timeline: one look at each history.
  wal::TimelineId looked_at = timeline;
  bool descends = false;
  for (const SegmentEntry& entry : listing.segments) {
    const auto other = entry.name.segment.timeline();
    if (other < timeline || !entry.name.segment.fits(size) || (entry.name.partial && !partials))
      continue;
    if (other == timeline) {
      if (entry.name.segment.segno(size) > segno) return &entry;
      continue;
    }
    if (other != looked_at) {
      const auto history = timelines.history(other);
      const auto end = history ? history->end_of(timeline) : std::nullopt;
      descends = end && size.segno(*end) > segno;
      looked_at = other;
    }
    if (descends) return &entry;
  }
  return nullptr;
}

Absence judge_absent_segment(wal::SegmentName segment, const archive::Listing& listing,
                             const archive::Timelines& timelines, wal::SegmentSize size) {
  const auto timeline = segment.timeline();
  const auto segno = segment.segno(size);
  const auto* const partial = find_partial(segment, listing);

  // What lies before a timeline's beginning was never written under its number.
  if (const auto history = timelines.history(timeline)) {
    const auto begin = history->begin_of(timeline).value_or(wal::Lsn());
    if (size.start(segno + 1) <= begin)
      return Absent{fmt::format("timeline {} begins later, at {}", timeline, begin)};
  }

  const auto* const found = find_later(segment, listing, timelines, size, partial == nullptr);
  if (found == nullptr) return Absent{"the archive ends before it" + partial_remark(partial)};

  const auto& name = found->name;
  if (name.segment.timeline() == timeline)
    return Gap{fmt::format("later segments of this timeline are there ({}){}", name.to_string(),
                           partial_remark(partial))};
  const auto end = *timelines.history(name.segment.timeline())->end_of(timeline);
  return Gap{fmt::format(
      "timeline {}, of which there are segments ({}), left timeline {} only at {}, behind it{}",
      name.segment.timeline(), name.to_string(), timeline, end, partial_remark(partial))};
}

Absence judge_absent_history(wal::TimelineId timeline, const archive::Listing& listing,
                             const archive::Timelines& timelines) {
  // A new cluster's first timeline has no history; recovery does not ask for it.
  if (timeline <= 1) return Absent{"timeline 1 has no history"};
  for (const SegmentEntry& entry : listing.segments)
    if (entry.name.segment.timeline() == timeline)
      return Gap{
          fmt::format("segments of timeline {} are there ({})", timeline, entry.name.to_string())};
  const auto descendants = timelines.descendants(timeline);
  if (!descendants.empty())
    return Gap{fmt::format("{} says that timeline {} existed",
                           wal::history_name(descendants.front()), timeline)};
  return Absent{fmt::format("nothing in the archive knows of timeline {}", timeline)};
}

}  // namespace weir::restore
