#include "ledger.h"

#include <algorithm>

#include "archive/listing.h"
#include "base/error.h"
#include "codec/codec.h"

namespace weir::sim {

using wal::Lsn;

void Ledger::on_process() {
  sync_failed_ = false;
  last_.reset();
}

void Ledger::on_stream(wal::TimelineId timeline, Lsn start) {
  timeline_ = timeline;
  received_ = start;
  last_.reset();
  // A flush position speaks for everything before it: also for what earlier streams brought.
  auto begin = start;
  auto& ranges = promised_[timeline];
  for (const auto& range : ranges)
    if (range.begin < range.end) begin = std::min(begin, range.begin);
  for (const auto& hole : told_holes_)
    if (hole.end <= start) begin = std::max(begin, hole.end);
  ranges.push_back({begin, begin});
}

void Ledger::on_status(const pq::StandbyStatus& status) {
  story_.tell("status: write {} flush {}", status.write, status.flush);
  if (sync_failed_)
    throw Violation{"P6",
                    fmt::format("flush {} was reported after a sync had failed", status.flush)};
  if (status.flush > status.write || status.write > received_)
    throw Violation{"P1", fmt::format("flush {} <= write {} <= received {} does not hold",
                                      status.flush, status.write, received_)};
  if (status.apply > status.flush)
    throw Violation{"P1", fmt::format("apply {} is beyond flush {}", status.apply, status.flush)};
  if (last_ && (status.flush < last_->flush || status.write < last_->write))
    throw Violation{"P1", fmt::format("the report goes back: flush {} after {}, write {} after {}",
                                      status.flush, last_->flush, status.write, last_->write)};
  last_ = status;
  auto& range = promised_[timeline_].back();
  range.end = std::max(range.end, status.flush);
}

wal::Lsn Ledger::reported(wal::TimelineId timeline) const {
  Lsn most;
  const auto found = promised_.find(timeline);
  if (found != promised_.end())
    for (const auto& range : found->second) most = std::max(most, range.end);
  return most;
}

void Ledger::check(const SimDisk& disk, bool everything) {
  check_names(disk, everything);
  check_reported(disk, everything);
}

std::optional<std::string> Ledger::find(const SimDisk& disk, wal::TimelineId timeline,
                                        Lsn segment) const {
  const auto name = wal::SegmentName(timeline, kSegment.segno(segment), kSegment).to_string();
  if (disk.exists(name)) return name;
  if (disk.exists(name + ".zst")) return name + ".zst";
  if (disk.exists(name + ".partial")) return name + ".partial";
  return std::nullopt;
}

bool Ledger::holds(const SimDisk& disk, const std::string& file, std::uint64_t offset,
                   std::span<const std::byte> expected) {
  if (!file.ends_with(".zst")) return disk.holds(file, offset, expected);
  std::vector<std::byte> raw;
  try {
    const auto decompressor = codec::make_decompressor(codec::Method::zstd);
    decompressor->feed(disk.content(file), [&](std::span<const std::byte> bytes) {
      raw.insert(raw.end(), bytes.begin(), bytes.end());
    });
    decompressor->finish();
  } catch (const Error&) {
    return false;
  }
  return raw.size() == kSegmentBytes &&
         std::ranges::equal(std::span(raw).subspan(offset, expected.size()), expected);
}

/// P1: every byte below a position that was ever reported, on its timeline, equal to the cluster's.
void Ledger::check_reported(const SimDisk& disk, bool everything) {
  for (const auto& [timeline, ranges] : promised_) {
    // Streams overlap: each range is checked once.
    std::vector<Range> merged;
    auto sorted = ranges;
    std::sort(sorted.begin(), sorted.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    for (const auto& range : sorted) {
      if (!merged.empty() && range.begin <= merged.back().end)
        merged.back().end = std::max(merged.back().end, range.end);
      else
        merged.push_back(range);
    }
    for (const auto& range : merged)
      for (auto at = range.begin; at < range.end; at = kSegment.start_of(at) + kSegmentBytes) {
        const auto segment = kSegment.start_of(at);
        const auto file = find(disk, timeline, segment);
        const auto end = std::min(range.end, segment + kSegmentBytes);
        if (!file)
          throw Violation{"P1", fmt::format("{} to {} on timeline {} was reported as flushed, and "
                                            "no file has it",
                                            at, end, timeline)};
        if (!everything && checked_.contains(*file)) continue;
        if (!holds(disk, *file, kSegment.offset(at), lineage_.bytes(timeline, at, end)))
          throw Violation{"P1", fmt::format("{} to {} on timeline {} was reported as flushed, and "
                                            "{} does not hold it",
                                            at, end, timeline, *file)};
      }
  }
}

/// P2: a final name means complete and correct. And before any segment of a timeline its history.
void Ledger::check_names(const SimDisk& disk, bool everything) {
  for (const auto& name : disk.names()) {
    if (name.starts_with('.')) continue;
    if (const auto timeline = wal::parse_history_name(name)) {
      if (*timeline < 2 || *timeline > lineage_.newest())
        throw Violation{"P2", name + " is of no timeline of this cluster"};
      const auto& content = lineage_.history(*timeline);
      const auto bytes = std::as_bytes(std::span(content.data(), content.size()));
      if (disk.size(name) != content.size() || !disk.holds(name, 0, bytes))
        throw Violation{"P2", name + " has not the content of the server's file"};
      continue;
    }
    const auto file = archive::SegmentFileName::parse(name);
    if (!file) throw Violation{"P2", "a file with a strange name: " + name};
    const auto timeline = file->segment.timeline();
    if (timeline > 1 && !disk.exists(wal::history_name(timeline)))
      throw Violation{"P2", fmt::format("{} is there before the history of its timeline", name)};
    if (file->partial || (!everything && checked_.contains(name))) continue;
    const auto start = file->segment.start(kSegment);
    const bool raw = file->method == codec::Method::none;
    if ((raw && disk.size(name) != kSegmentBytes) ||
        lineage_.end(timeline) < start + kSegmentBytes ||
        !holds(disk, name, 0, lineage_.bytes(timeline, start, start + kSegmentBytes)))
      throw Violation{"P2", name + " has its final name and is not complete and correct"};
    checked_.insert(name);
  }
}

bool Ledger::told(Lsn begin, Lsn end) const {
  return std::any_of(told_holes_.begin(), told_holes_.end(),
                     [&](const auto& hole) { return hole.begin <= begin && end <= hole.end; });
}

/// P3: from the first byte of the archive to what was last reported on the newest timeline there is
/// no byte missing, unless somebody was told. The old timeline has its end under its own name.
void Ledger::check_continuity(const SimDisk& disk) const {
  // The archive begins with the first timeline of which anything was promised.
  const auto first = std::find_if(promised_.begin(), promised_.end(), [&](const auto& each) {
    return std::any_of(each.second.begin(), each.second.end(),
                       [](const Range& range) { return range.begin < range.end; });
  });
  if (first == promised_.end()) return;
  auto begin = reported(first->first);
  for (const auto& range : first->second)
    if (range.begin < range.end) begin = std::min(begin, range.begin);
  const auto newest = promised_.rbegin()->first;
  auto timeline = first->first;
  while (timeline <= newest) {
    const bool last = timeline == newest;
    const auto end = last ? reported(timeline) : lineage_.timeline(timeline).switchpoint;
    for (auto segment = kSegment.start_of(begin); segment < end;
         segment = segment + kSegmentBytes) {
      const auto from = std::max(segment, begin);
      const auto to = std::min(segment + kSegmentBytes, end);
      const auto file = find(disk, timeline, segment);
      if (file && holds(disk, *file, kSegment.offset(from), lineage_.bytes(timeline, from, to)))
        continue;
      if (told(from, to)) continue;
      throw Violation{"P3", fmt::format("{} to {} on timeline {} is missing, and nobody was told",
                                        from, to, timeline)};
    }
    if (last) break;
    begin = kSegment.start_of(lineage_.timeline(timeline).switchpoint);
    ++timeline;
  }
}

}  // namespace weir::sim
