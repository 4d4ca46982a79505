#include "restore/absence.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "archive/find_losses.h"
#include "archive/forms.h"
#include "archive/other_forms.h"
#include "archive/own_names.h"

namespace weir::restore {

namespace {

using archive::SegmentEntry;
using archive::SegmentFileName;

/// Perhaps the file system with the files that they link to is not mounted.
constexpr const char* kNoFile =
    "{} exists, but is a directory, a device, or a symbolic link without a target";

/// By another archiving program: it was complete.
std::string exists_packed(const std::string& name, const archive::OtherFile& file) {
  return fmt::format("{} exists, in a format that is not supported ({}; unpack it with \"{}\")",
                     name, file.form->name, file.form->unpack);
}

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
             : fmt::format("; {} exists, but is incomplete", partial->name.to_string());
}

/// Excludes those that follow a recorded hole.
std::uint64_t end_of_row(wal::SegmentName segment, const archive::Listing& listing,
                         wal::SegmentSize size, const std::vector<KnownHole>& holes) {
  return archive::end_of_unfinished_row(listing, segment, size, [&](std::uint64_t segno) {
    return std::any_of(holes.begin(), holes.end(), [&](const KnownHole& hole) {
      return hole.next_timeline == segment.timeline() && hole.end == size.start(segno);
    });
  });
}

/// The proof from another timeline's history. `example`: a later segment of it, if there is one.
std::optional<std::string> proof_of_history(wal::TimelineId other, wal::SegmentName segment,
                                            const archive::Timelines& timelines,
                                            wal::SegmentSize size, const SegmentEntry* example) {
  const auto timeline = segment.timeline();
  const auto history = timelines.history(other);
  if (!history) {
    if (example == nullptr) return std::nullopt;
    return fmt::format(
        "timeline {}, of which later segments exist ({}), may have left timeline {} after it: its "
        "history cannot be read",
        other, example->name.to_string(), timeline);
  }
  const auto end = history->end_of(timeline);
  if (!end || size.segno(*end) <= segment.segno(size)) return std::nullopt;
  if (example != nullptr)
    return fmt::format(
        "timeline {}, of which segments exist ({}), left timeline {} only at {}, which is after it",
        other, example->name.to_string(), timeline, *end);
  return fmt::format("according to {}, timeline {} ends only at {}, which is after it",
                     wal::history_name(other), timeline, *end);
}

}  // namespace

std::vector<KnownHole> known_holes(const archive::Listing& listing, wal::SegmentSize size) {
  std::vector<KnownHole> holes;
  for (const auto& name : listing.hidden) {
    const auto marked = archive::parse_hole_mark(name);
    if (!marked || !marked->fits(size)) continue;
    KnownHole hole{marked->timeline(), {}, marked->timeline(), marked->start(size)};
    for (const SegmentEntry& entry : listing.segments) {
      const auto& segment = entry.name.segment;
      if (segment.timeline() != marked->timeline() || !segment.fits(size) || *marked <= segment)
        continue;
      hole.begin = segment.start(size) + (entry.name.partial ? 0 : size.bytes());
    }
    holes.push_back(hole);
  }
  return holes;
}

std::optional<std::string> find_proof(wal::SegmentName segment, const archive::Listing& listing,
                                      const archive::Timelines& timelines, wal::SegmentSize size,
                                      const std::vector<KnownHole>& holes) {
  const auto timeline = segment.timeline();
  const auto segno = segment.segno(size);
  const auto row_end = end_of_row(segment, listing, size, holes);

  std::map<wal::TimelineId, const SegmentEntry*> others;  // that may descend from this timeline
  for (const auto other : timelines.known())
    if (other > timeline) others.emplace(other, nullptr);
  for (const SegmentEntry& entry : listing.segments) {
    const auto& name = entry.name.segment;
    if (name.timeline() < timeline || !name.fits(size)) continue;
    if (name.timeline() > timeline) {
      auto& example = others[name.timeline()];
      if (example == nullptr && name.segno(size) > segno) example = &entry;
      continue;
    }
    if (name.segno(size) > segno && (!entry.name.partial || name.segno(size) >= row_end))
      return fmt::format("later segments of this timeline exist ({})", entry.name.to_string());
  }
  for (const auto& name : listing.foreign) {
    const auto packed = archive::parse_other_form(name);
    if (packed && packed->segment && packed->timeline == timeline && packed->segment->fits(size) &&
        packed->segment->segno(size) >= segno)
      return exists_packed(name, *packed);
    const auto other = SegmentFileName::parse(name);
    if (other && other->segment.timeline() == timeline && other->segment.fits(size) &&
        other->segment.segno(size) > segno &&
        (!other->partial || other->segment.segno(size) >= row_end))
      return fmt::format(kNoFile, name);
  }
  for (const KnownHole& hole : holes) {
    if (hole.timeline != timeline || hole.end < size.start(segno + 1)) continue;
    // Across a timeline switch: the history below shows where this timeline ends.
    const auto history = timelines.history(hole.next_timeline);
    if (hole.next_timeline != timeline && history && history->end_of(timeline)) continue;
    return fmt::format("a hole up to {} on timeline {} is recorded", hole.end, hole.next_timeline);
  }
  for (const auto& [other, example] : others)
    if (auto proof = proof_of_history(other, segment, timelines, size, example)) return proof;
  return std::nullopt;
}

std::optional<Unread> unread_segment(const std::string& name) {
  if (const auto packed = archive::parse_other_form(name)) {
    if (!packed->segment) return std::nullopt;
    return Unread{*packed->segment, exists_packed(name, *packed)};
  }
  const auto other = SegmentFileName::parse(name);
  if (!other) return std::nullopt;
  return Unread{other->segment, fmt::format(kNoFile, name)};
}

std::optional<Unread> copied_segment(const std::string& name, const archive::Listing& listing) {
  const auto copied = archive::parse_rsync_copy(name, listing);
  if (!copied) return std::nullopt;
  return Unread{copied->segment,
                fmt::format("{} exists, which rsync has not copied completely", name),
                copied->partial};
}

std::vector<SegmentFileName> unfinished_behind(wal::SegmentName segment,
                                               const archive::Listing& listing,
                                               wal::SegmentSize size,
                                               const std::vector<KnownHole>& holes) {
  const auto end = end_of_row(segment, listing, size, holes);
  std::vector<SegmentFileName> found;
  for (const SegmentEntry& entry : listing.segments) {
    const auto& name = entry.name.segment;
    if (!entry.name.partial || name.timeline() != segment.timeline() || !name.fits(size)) continue;
    if (name.segno(size) > segment.segno(size) && name.segno(size) < end)
      found.push_back(entry.name);
  }
  return found;
}

Absence judge_absent_segment(wal::SegmentName segment, const archive::Listing& listing,
                             const archive::Timelines& timelines, wal::SegmentSize size,
                             const std::vector<KnownHole>& holes) {
  const auto timeline = segment.timeline();
  const auto segno = segment.segno(size);
  const auto* const partial = find_partial(segment, listing);

  // Segments before a timeline's start never existed under its ID.
  if (const auto history = timelines.history(timeline)) {
    const auto begin = history->begin_of(timeline).value_or(wal::Lsn());
    if (size.start(segno + 1) <= begin)
      return Absent{fmt::format("timeline {} begins later, at {}", timeline, begin),
                    Absent::Reason::elsewhere};
  }
  if (const auto proof = find_proof(segment, listing, timelines, size, holes))
    return Gap{*proof + partial_remark(partial)};
  return Absent{"the archive ends before it" + partial_remark(partial)};
}

Absence judge_absent_segment(wal::SegmentName segment, const archive::Listing& listing) {
  const auto proves = [&](wal::SegmentName other) {
    return other.timeline() == segment.timeline() && segment < other;
  };
  for (const SegmentEntry& entry : listing.segments)
    if (proves(entry.name.segment))
      return Gap{fmt::format("later segments of this timeline exist ({})", entry.name.to_string())};
  for (const auto& name : listing.foreign)
    if (const auto packed = archive::parse_other_form(name);
        packed && packed->segment && (proves(*packed->segment) || packed->segment == segment))
      return Gap{exists_packed(name, *packed)};
  for (const auto& name : listing.hidden)
    if (const auto marked = archive::parse_hole_mark(name); marked && proves(*marked))
      return Gap{fmt::format("a hole before {} is recorded", *marked)};
  return Absent{"there is no WAL in the archive yet"};
}

Absence judge_absent_history(wal::TimelineId timeline, const archive::Listing& listing,
                             const archive::Timelines& timelines,
                             const std::vector<KnownHole>& holes) {
  // A new cluster's first timeline has no history; recovery does not request it.
  if (timeline <= 1) return Absent{"timeline 1 has no history", Absent::Reason::elsewhere};
  for (const SegmentEntry& entry : listing.segments)
    if (entry.name.segment.timeline() == timeline)
      return Gap{
          fmt::format("segments of timeline {} exist ({})", timeline, entry.name.to_string())};
  for (const auto& name : listing.foreign) {
    if (const auto packed = archive::parse_other_form(name); packed && packed->timeline == timeline)
      return Gap{exists_packed(name, *packed)};
    const auto history = archive::parse_history_name(name);
    const auto segment = SegmentFileName::parse(name);
    if ((history && history->timeline == timeline) ||
        (segment && segment->segment.timeline() == timeline))
      return Gap{fmt::format(kNoFile, name)};
  }
  const auto descendants = timelines.descendants(timeline);
  if (!descendants.empty())
    return Gap{fmt::format("according to {}, timeline {} existed",
                           wal::history_name(descendants.front()), timeline)};
  for (const KnownHole& hole : holes)
    if (hole.timeline == timeline || hole.next_timeline == timeline)
      return Gap{fmt::format("a hole of timeline {}, up to {}, is recorded", timeline, hole.end)};
  return Absent{fmt::format("the archive contains no trace of timeline {}", timeline)};
}

namespace {

constexpr const char* kStored =
    "according to the store's manifest, {} was uploaded, but it is missing";
constexpr const char* kByManifest = "according to the store's manifest, {}";

}  // namespace

std::optional<Gap> told_of(wal::SegmentName segment, const archive::Listing& told,
                           const archive::Timelines& timelines, wal::SegmentSize size,
                           const std::vector<KnownHole>& holes) {
  for (const SegmentEntry& entry : told.segments)
    if (entry.name.segment == segment) return Gap{fmt::format(kStored, entry.name.to_string())};
  if (const auto proof = find_proof(segment, told, timelines, size, holes))
    return Gap{fmt::format(kByManifest, *proof)};
  return std::nullopt;
}

std::optional<Gap> told_of(wal::TimelineId timeline, const archive::Listing& told,
                           const archive::Timelines& timelines) {
  for (const auto& history : told.histories)
    if (history.timeline == timeline) return Gap{fmt::format(kStored, wal::history_name(timeline))};
  const auto absence = judge_absent_history(timeline, told, timelines, {});
  if (const auto* const gap = std::get_if<Gap>(&absence))
    return Gap{fmt::format(kByManifest, gap->what)};
  return std::nullopt;
}

}  // namespace weir::restore
