#include "status/only_stored.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace weir::status {

namespace {

const SegnoRange* range_with(const std::vector<SegnoRange>& ranges, std::uint64_t segno) {
  const auto at = std::partition_point(ranges.begin(), ranges.end(),
                                       [&](const SegnoRange& one) { return one.end <= segno; });
  return at != ranges.end() && at->begin <= segno ? &*at : nullptr;
}

/// Without the WAL that the store has lost, or never had: the mark keeps the segments that were
/// sent.
Rows without_holes(Rows rows, const StatusReport& report) {
  const auto& size = *report.segment_size;
  for (const auto& loss : report.recorded) {
    if (loss.kind != archive::Loss::Kind::hole || loss.segment_size != size) continue;
    const SegnoRange hole{size.segno(loss.begin), size.segno(wal::Lsn(loss.end.byte() - 1)) + 1};
    for (auto& [timeline, ranges] : rows)
      if (loss.timeline <= timeline && timeline <= loss.next_timeline)
        ranges = without(ranges, {hole});
  }
  return rows;
}

/// A recovery that starts before WAL with wal_level=minimal ends there.
wal::Lsn after_minimal_wal(const StatusReport& report, const wal::TimelineHistory& history,
                           wal::Lsn from, wal::Lsn to) {
  for (const auto& loss : report.recorded)
    if (archive::lies_on(loss, history) && from < loss.end && loss.begin < to)
      from = loss.goes_on ? to : std::min(loss.end, to);
  return from;
}

/// Where a row begins that leads to `segno` along `history`; `segno` itself: nothing leads there.
std::uint64_t begin_of_row(const StatusReport& report, const wal::TimelineHistory& history,
                           std::uint64_t segno) {
  const auto& size = *report.segment_size;
  while (segno > 0) {
    const auto timeline = archive::timeline_of_segment(history, segno - 1, size);
    const auto one = std::find_if(report.timelines.begin(), report.timelines.end(),
                                  [&](const auto& each) { return each.timeline == timeline; });
    if (one == report.timelines.end()) break;
    const auto* range = range_with(one->only_stored, segno - 1);
    if (range == nullptr) range = range_with(one->finished, segno - 1);
    if (range == nullptr) break;
    // The segment with the switchpoint in it is the timeline's own.
    const auto own = size.segno(history.begin_of(timeline).value_or(wal::Lsn()));
    segno = std::max(range->begin, std::min(own, segno - 1));
  }
  return segno;
}

}  // namespace

Rows rows_of(const archive::Listing& listing, wal::SegmentSize size) {
  Rows rows;
  for (const auto& entry : listing.segments) {
    if (entry.name.partial || !entry.name.segment.fits(size)) continue;
    auto& ranges = rows[entry.name.segment.timeline()];
    const auto segno = entry.name.segment.segno(size);
    if (!ranges.empty() && ranges.back().end == segno)
      ++ranges.back().end;
    else if (ranges.empty() || ranges.back().end < segno)
      ranges.push_back({segno, segno + 1});
  }
  return rows;
}

Rows rows_of(const store::Mark& mark) {
  Rows rows;
  for (const auto& run : mark.sent)
    rows[run.first.timeline()].push_back(
        {run.first.segno(mark.segment_size), run.last.segno(mark.segment_size) + 1});
  return rows;
}

std::vector<SegnoRange> without(const std::vector<SegnoRange>& ranges,
                                const std::vector<SegnoRange>& others) {
  std::vector<SegnoRange> rest;
  auto other = others.begin();
  for (auto range : ranges) {
    while (other != others.end() && other->end <= range.begin) ++other;
    for (auto cut = other; cut != others.end() && cut->begin < range.end; ++cut) {
      if (range.begin < cut->begin) rest.push_back({range.begin, cut->begin});
      range.begin = std::max(range.begin, cut->end);
    }
    if (range.begin < range.end) rest.push_back(range);
  }
  return rest;
}

void describe_only_stored(StatusReport& report, const Rows& there, const Rows& here) {
  if (!report.segment_size) return;
  for (const auto& [timeline, ranges] : without_holes(there, report)) {
    const auto known = here.find(timeline);
    auto only = known == here.end() ? ranges : without(ranges, known->second);
    if (!only.empty()) timeline_of(report, timeline).only_stored = std::move(only);
  }
  for (auto& window : report.windows) {
    const auto history =
        report.histories.history(window.timeline).value_or(wal::TimelineHistory(window.timeline));
    const auto first = report.segment_size->segno(window.from);
    const auto begin = report.segment_size->start(begin_of_row(report, history, first));
    const auto from = after_minimal_wal(report, history, begin, window.from);
    if (begin < report.segment_size->start(first) && from < window.from) window.stored_from = from;
  }
}

void add_mark(StatusReport& report, io::Shelf& directory) {
  std::optional<store::Mark> mark;
  try {
    mark = store::read_mark(directory);
  } catch (const Error& error) {
    report.damaged.push_back(
        fmt::format("the contents of the object store are unknown: {}", error.what()));
  }
  // A mark of another cluster or segment size does not apply to this WAL.
  if (!mark || !report.identity || mark->system_identifier != report.identity->system_identifier ||
      mark->segment_size != report.segment_size)
    return;
  Rows here;
  for (const auto& one : report.timelines) here[one.timeline] = one.finished;
  describe_only_stored(report, rows_of(*mark), here);
}

}  // namespace weir::status
