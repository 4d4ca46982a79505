#include "status/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

#include "base/error.h"
#include "io/posix_directory.h"

namespace weir::status {

namespace {

using Json = nlohmann::json;

/// WAL that is read to find the ends of the timelines, all together: a fraction of a second.
constexpr std::uint64_t kBudget = std::uint64_t{96} << 20;

std::optional<wal::SegmentSize> size_of_a_raw_segment(const archive::Listing& listing);
void look_at_all_ends(StatusReport& report, io::Directory& directory,
                      const archive::Listing& listing, const archive::Timelines& timelines);
StatusReport::Timeline& timeline_of(StatusReport& report, wal::TimelineId timeline);
void extend(std::vector<SegnoRange>& ranges, std::uint64_t segno);
void merge(std::vector<SegnoRange>& ranges);
void add_missing(StatusReport& report, const std::optional<wal::TimelineHistory>& history,
                 wal::TimelineId timeline, wal::Lsn from, wal::Lsn to);

}  // namespace

StatusReport look(const std::string& path) {
  StatusReport report;
  report.directory = path;
  const auto directory = io::open_existing_directory(path);
  report.free_bytes = directory->free_bytes();
  const auto listing = archive::list_archive(*directory);
  try {
    report.identity = archive::read_identity(*directory, listing);
  } catch (const Error& error) {
    report.damaged.emplace_back(error.what());
  }
  if (report.identity)
    report.segment_size = report.identity->segment_size;
  else
    report.segment_size = size_of_a_raw_segment(listing);
  const auto timelines = archive::Timelines::read(*directory, listing);
  describe_listing(report, listing, timelines);
  look_at_all_ends(report, *directory, listing, timelines);
  describe_windows(report);
  return report;
}

void describe_listing(StatusReport& report, const archive::Listing& listing,
                      const archive::Timelines& timelines) {
  const auto size = report.segment_size;
  const wal::SegmentName* previous = nullptr;
  for (const auto& entry : listing.segments) {
    const auto& name = entry.name.segment;
    auto& timeline = timeline_of(report, name.timeline());
    if (entry.name.partial) {
      timeline.partials.push_back(entry);
      if (size && name.fits(*size)) extend(timeline.unfinished, name.segno(*size));
      continue;
    }
    auto& form = timeline.forms[entry.name.method];
    ++form.count;
    form.bytes += entry.bytes.value();
    // Several forms of one segment stand side by side in the listing.
    if (previous == nullptr || *previous != name) ++timeline.segments;
    previous = &name;
    if (!size || !name.fits(*size)) continue;
    extend(timeline.finished, name.segno(*size));
    if (!timeline.from) timeline.from = name.start(*size);
    timeline.to = name.start(*size) + size->bytes();
  }
  for (const auto& history : listing.histories)
    timeline_of(report, history.timeline).history = true;
  for (const auto& complaint : timelines.complaints())
    report.damaged.push_back(fmt::format("{}: {}", complaint.file, complaint.what));
  report.foreign = listing.foreign;
  if (!size) return;

  report.coverage = archive::coverage(listing, timelines, *size);
  std::set<std::pair<wal::Lsn, wal::Lsn>> seen;  // two timelines share their ancestors' holes
  for (const auto& way : report.coverage) {
    for (std::size_t i = 1; i < way.ranges.size(); ++i) {
      const auto from = way.ranges[i - 1].end;
      const auto to = way.ranges[i].begin;
      add_missing(report, timelines.history(way.timeline), way.timeline, from, to);
      if (seen.emplace(from, to).second)
        report.holes.push_back({way.timeline, from, to, (to - from) / size->bytes()});
    }
  }
  for (auto& timeline : report.timelines) merge(timeline.missing);
}

void describe_windows(StatusReport& report) {
  report.windows.clear();
  for (const auto& way : report.coverage) {
    // Of the timelines whose commits are known, those that begin or end in the range.
    const auto& tip = timeline_of(report, way.timeline);
    auto ranges = way.ranges;
    // An archive that has just begun: all there is, is unfinished.
    if (ranges.empty() && report.segment_size && !tip.unfinished.empty()) {
      const auto start = report.segment_size->start(tip.unfinished.back().begin);
      ranges.push_back({start, start});
    }
    for (auto range = ranges.rbegin(); range != ranges.rend(); ++range) {
      StatusReport::Window window;
      window.timeline = way.timeline;
      window.from = range->begin;
      window.to = range->end;
      window.newest = range == ranges.rbegin();
      if (window.newest && report.segment_size) {
        const auto next = report.segment_size->segno(range->end);
        const bool goes_on = std::any_of(tip.unfinished.begin(), tip.unfinished.end(),
                                         [&](const SegnoRange& unfinished) {
                                           return unfinished.begin <= next && next < unfinished.end;
                                         });
        if (goes_on && tip.ends.end > range->end) {
          window.to = tip.ends.end;
          window.with_partial = true;
        }
        if (tip.ends.last && tip.ends.last->start >= range->begin &&
            tip.ends.last->start < window.to)
          window.to_time = tip.ends.last->time;
      }
      if (window.from == window.to) continue;  // nothing in it yet
      for (const auto& one : report.timelines)
        if (one.from == range->begin && one.ends.first) window.from_time = one.ends.first->time;
      report.windows.push_back(window);
    }
  }
}

std::optional<ReceiverFacts> receiver_facts(const StatusReport& report) {
  if (!report.receiver) return std::nullopt;
  const auto json = Json::parse(*report.receiver, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto number = [&](const char* key) -> std::optional<std::uint64_t> {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
    return found->get<std::uint64_t>();
  };
  ReceiverFacts facts{
      text("state"), text("server"),       text("flush_lsn"), number("lag_bytes"), {},
      text("slot"),  text("slot_warning"), text("last_error")};
  if (const auto silence = number("silence_ms"))
    facts.silence = std::chrono::milliseconds(*silence);
  return facts;
}

std::optional<wal::Lsn> position_of(const StatusReport& report) {
  if (const auto receiver = receiver_facts(report))
    if (const auto flush = wal::Lsn::parse(receiver->flush_lsn)) return flush;
  if (report.timelines.empty()) return std::nullopt;
  const auto& newest = report.timelines.back();
  auto position = newest.to;
  if (newest.ends.end.valid() && (!position || newest.ends.end > *position))
    position = newest.ends.end;
  return position;
}

std::optional<std::uint64_t> lag_of(const StatusReport& report) {
  if (report.upstream) {
    const auto position = position_of(report);
    if (!position) return std::nullopt;
    return report.upstream->position > *position ? report.upstream->position - *position : 0;
  }
  const auto receiver = receiver_facts(report);
  return receiver ? receiver->lag : std::nullopt;
}

std::optional<double> compression_ratio(const StatusReport& report) {
  if (!report.segment_size) return std::nullopt;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  for (const auto& one : report.timelines)
    for (const auto& [method, form] : one.forms) {
      if (method == codec::Method::none) continue;
      files += form.count;
      bytes += form.bytes;
    }
  if (bytes == 0) return std::nullopt;
  return static_cast<double>(files) * static_cast<double>(report.segment_size->bytes()) /
         static_cast<double>(bytes);
}

namespace {

/// Without a readable header the size of a raw segment tells it.
std::optional<wal::SegmentSize> size_of_a_raw_segment(const archive::Listing& listing) {
  for (const auto& entry : listing.segments)
    if (entry.name.method == codec::Method::none && entry.bytes.value() > 0)
      if (const auto size = wal::SegmentSize::of(*entry.bytes)) return size;
  return std::nullopt;
}

void look_at_all_ends(StatusReport& report, io::Directory& directory,
                      const archive::Listing& listing, const archive::Timelines& timelines) {
  if (!report.identity) return;
  auto budget = kBudget;
  // The newest first: it counts most.
  auto end = listing.segments.end();
  while (end != listing.segments.begin()) {
    const auto timeline = std::prev(end)->name.segment.timeline();
    const auto begin = std::partition_point(listing.segments.begin(), end,
                                            [&](const archive::SegmentEntry& entry) {
                                              return entry.name.segment.timeline() < timeline;
                                            });
    timeline_of(report, timeline).ends =
        look_at_ends(directory, std::span(begin, end), *report.segment_size, timelines, budget);
    end = begin;
  }
}

StatusReport::Timeline& timeline_of(StatusReport& report, wal::TimelineId timeline) {
  auto& all = report.timelines;
  const auto at = std::lower_bound(
      all.begin(), all.end(), timeline,
      [](const StatusReport::Timeline& one, wal::TimelineId id) { return one.timeline < id; });
  if (at != all.end() && at->timeline == timeline) return *at;
  StatusReport::Timeline fresh;
  fresh.timeline = timeline;
  return *all.insert(at, std::move(fresh));
}

void extend(std::vector<SegnoRange>& ranges, std::uint64_t segno) {
  if (!ranges.empty() && ranges.back().end == segno)
    ranges.back().end = segno + 1;
  else if (ranges.empty() || segno >= ranges.back().end)
    ranges.push_back({segno, segno + 1});
}

void merge(std::vector<SegnoRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const SegnoRange& a, const SegnoRange& b) { return a.begin < b.begin; });
  std::vector<SegnoRange> merged;
  for (const auto& one : ranges) {
    if (!merged.empty() && one.begin <= merged.back().end)
      merged.back().end = std::max(merged.back().end, one.end);
    else
      merged.push_back(one);
  }
  ranges = std::move(merged);
}

/// A hole may cross a switch: each timeline of the history misses its own part of it.
void add_missing(StatusReport& report, const std::optional<wal::TimelineHistory>& history,
                 wal::TimelineId timeline, wal::Lsn from, wal::Lsn to) {
  const auto& size = *report.segment_size;
  auto begin = size.segno(from);
  const auto behind = size.segno(to);
  const auto lineage = history.value_or(wal::TimelineHistory(timeline));
  for (const auto& ancestor : lineage.ancestors()) {
    // The segment with the switchpoint in it is the successor's.
    const auto end = std::min(behind, size.segno(ancestor.switchpoint));
    if (begin >= end) continue;
    timeline_of(report, ancestor.timeline).missing.push_back({begin, end});
    begin = end;
  }
  if (begin < behind) timeline_of(report, timeline).missing.push_back({begin, behind});
}

}  // namespace

}  // namespace weir::status
