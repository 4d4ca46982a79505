#include "archive/timelines.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "archive/history_store.h"

namespace weir::archive {

namespace {

using Segnos = std::vector<std::uint64_t>;

std::map<wal::TimelineId, Segnos> finished_segnos(const Listing& listing, wal::SegmentSize size);
std::vector<Coverage::Range> ranges_of(const std::map<wal::TimelineId, Segnos>& finished,
                                       const wal::TimelineHistory& history, wal::SegmentSize size);

}  // namespace

Timelines Timelines::read(io::Shelf& directory, const Listing& listing) {
  Timelines timelines;
  for (const auto& entry : listing.histories) {
    const auto timeline = entry.timeline;
    // One call reads any of the existing files; a second file of the same history is not read.
    if (timelines.histories_.contains(timeline) ||
        (!timelines.complaints_.empty() && timelines.complaints_.back().timeline == timeline))
      continue;
    const auto complain = [&](ErrorKind kind, std::string what) {
      auto file = wal::history_name(timeline) + std::string(codec::suffix(entry.method));
      timelines.complaints_.push_back({timeline, std::move(file), std::move(what), kind});
    };
    try {
      const auto content = read_history(directory, timeline);
      if (!content) {
        complain(ErrorKind::io, "it is in an unknown format, or was removed");
        continue;
      }
      if (auto history = wal::TimelineHistory::parse(timeline, *content))
        timelines.histories_.emplace(timeline, std::move(*history));
      else
        complain(ErrorKind::damage,
                 "invalid timeline history: expected lines of timeline, switchpoint and reason, "
                 "ascending, all timelines below its own");
    } catch (const Error& error) {
      // A server that does not respond says nothing about the history.
      if (error.kind() == ErrorKind::retry || error.kind() == ErrorKind::refused) throw;
      complain(error.kind(), error.what());
    }
  }
  return timelines;
}

void Timelines::add(const Timelines& other) {
  for (const auto& each : other.histories_)
    if (histories_.insert(each).second)
      std::erase_if(complaints_, [&each](const Complaint& complaint) {
        return complaint.timeline == each.first;
      });
  for (const auto& complaint : other.complaints_)
    if (!histories_.contains(complaint.timeline)) complaints_.push_back(complaint);
}

std::optional<wal::TimelineHistory> Timelines::history(wal::TimelineId timeline) const {
  if (const auto found = histories_.find(timeline); found != histories_.end()) return found->second;
  for (const auto& complaint : complaints_)
    if (complaint.timeline == timeline) return std::nullopt;
  return wal::TimelineHistory(timeline);
}

std::vector<wal::TimelineId> Timelines::known() const {
  std::set<wal::TimelineId> known;
  for (const auto& [timeline, history] : histories_) known.insert(timeline);
  for (const auto& complaint : complaints_) known.insert(complaint.timeline);
  return {known.begin(), known.end()};
}

std::vector<wal::TimelineId> Timelines::descendants(wal::TimelineId timeline) const {
  std::vector<wal::TimelineId> found;
  for (const auto& [descendant, history] : histories_)
    if (descendant != timeline && history.contains(timeline)) found.push_back(descendant);
  return found;
}

std::map<wal::TimelineId, std::string> missing_histories(const Listing& listing,
                                                         const Timelines& timelines) {
  std::map<wal::TimelineId, std::string> shown;
  for (const auto& entry : listing.segments) {
    const auto timeline = entry.name.segment.timeline();
    shown.try_emplace(timeline, fmt::format("segments of timeline {} exist", timeline));
  }
  if (shown.empty()) return shown;
  const auto oldest = shown.begin()->first;
  const auto known = timelines.known();
  for (const auto timeline : known)
    if (const auto history = timelines.history(timeline))
      for (const auto& ancestor : history->ancestors())
        shown.try_emplace(
            ancestor.timeline,
            fmt::format("{} names timeline {}", wal::history_name(timeline), ancestor.timeline));
  for (const auto timeline : known) shown.erase(timeline);
  for (const auto& entry : listing.histories) shown.erase(entry.timeline);
  std::erase_if(shown, [&](const auto& each) { return each.first <= 1 || each.first < oldest; });
  return shown;
}

wal::TimelineId timeline_of_segment(const wal::TimelineHistory& history, std::uint64_t segno,
                                    wal::SegmentSize segment_size) {
  // Its last byte decides: a switchpoint anywhere in the segment makes it the new timeline's.
  return history.timeline_of(wal::Lsn(segment_size.start(segno + 1).byte() - 1));
}

std::vector<Coverage> coverage(const Listing& listing, const Timelines& timelines,
                               wal::SegmentSize segment_size) {
  std::set<wal::TimelineId> with_segments;
  for (const auto& entry : listing.segments) with_segments.insert(entry.name.segment.timeline());
  auto tips = with_segments;
  for (const auto timeline : with_segments)
    if (const auto history = timelines.history(timeline))
      for (const auto& ancestor : history->ancestors()) tips.erase(ancestor.timeline);

  const auto finished = finished_segnos(listing, segment_size);
  std::vector<Coverage> all;
  for (const auto tip : tips) {
    const auto history = timelines.history(tip).value_or(wal::TimelineHistory(tip));
    all.push_back({tip, ranges_of(finished, history, segment_size)});
  }
  return all;
}

std::vector<Coverage::Range> ranges_along(const Listing& listing,
                                          const wal::TimelineHistory& history,
                                          wal::SegmentSize segment_size) {
  return ranges_of(finished_segnos(listing, segment_size), history, segment_size);
}

namespace {

/// Ascending, each once. A name that is invalid for the segment size is ignored.
std::map<wal::TimelineId, Segnos> finished_segnos(const Listing& listing, wal::SegmentSize size) {
  std::map<wal::TimelineId, Segnos> finished;
  for (const auto& entry : listing.segments) {
    if (entry.name.partial || !entry.name.segment.fits(size)) continue;
    auto& segnos = finished[entry.name.segment.timeline()];
    const auto segno = entry.name.segment.segno(size);
    if (segnos.empty() || segnos.back() != segno) segnos.push_back(segno);
  }
  return finished;
}

void add(std::vector<Coverage::Range>& ranges, std::uint64_t segno, wal::SegmentSize size) {
  const auto begin = size.start(segno);
  const auto end = size.start(segno + 1);
  if (!ranges.empty() && ranges.back().end == begin)
    ranges.back().end = end;
  else
    ranges.push_back({begin, end});
}

std::vector<Coverage::Range> ranges_of(const std::map<wal::TimelineId, Segnos>& finished,
                                       const wal::TimelineHistory& history, wal::SegmentSize size) {
  std::vector<Coverage::Range> ranges;
  const auto add_timeline = [&](wal::TimelineId timeline) {
    const auto segnos = finished.find(timeline);
    if (segnos == finished.end()) return;
    for (const auto segno : segnos->second)
      if (timeline_of_segment(history, segno, size) == timeline) add(ranges, segno, size);
  };
  for (const auto& ancestor : history.ancestors()) add_timeline(ancestor.timeline);
  add_timeline(history.timeline());
  return ranges;
}

}  // namespace

}  // namespace weir::archive
