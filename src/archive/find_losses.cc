#include "archive/find_losses.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "archive/border.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "wal/record_verifier.h"
#include "wal/transaction_end.h"

namespace weir::archive {

namespace {

/// Maximum amount of WAL read to count commits; a larger one would delay streaming.
constexpr std::uint64_t kMostCounted = std::uint64_t{1} << 30;

/// Ranges of [begin, end) on `history` that none of the known holes has.
std::vector<Loss::Range> unknown(wal::Lsn begin, wal::Lsn end, const wal::TimelineHistory& history,
                                 std::span<const Loss> known, const Timelines& timelines,
                                 wal::SegmentSize size) {
  std::vector<Loss::Range> parts;
  for (const auto& loss : known) {
    if (loss.kind != Loss::Kind::hole || loss.end <= begin || loss.begin >= end) continue;
    const auto needed = needed_along(loss, history, timelines, size);
    parts.insert(parts.end(), needed.begin(), needed.end());
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::vector<Loss::Range> left;
  for (const auto& part : parts) {
    if (part.end <= begin || part.begin >= end) continue;
    if (part.begin > begin) left.push_back({begin, part.begin});
    begin = std::min(end, part.end);
  }
  if (begin < end) left.push_back({begin, end});
  return left;
}

/// Range after the complete segments of one history, or from its first partial one on: the WAL
/// missing before each row of partial segments, except the row with which the archive continues.
std::vector<Loss::Range> before_unfinished(const Listing& listing,
                                           const wal::TimelineHistory& history,
                                           std::span<const Coverage::Range> finished,
                                           wal::SegmentSize size) {
  std::vector<std::uint64_t> unfinished;  // on this history, ascending
  const auto add = [&](wal::TimelineId timeline) {
    const auto of = [](const SegmentEntry& entry) { return entry.name.segment.timeline(); };
    for (auto entry = std::partition_point(listing.segments.begin(), listing.segments.end(),
                                           [&](const auto& each) { return of(each) < timeline; });
         entry != listing.segments.end() && of(*entry) == timeline; ++entry) {
      const auto& name = entry->name;
      if (!name.partial || !name.segment.fits(size)) continue;
      const auto segno = name.segment.segno(size);
      if (!finished.empty() && size.start(segno) < finished.back().end) continue;
      if (timeline_of_segment(history, segno, size) == timeline) unfinished.push_back(segno);
    }
  };
  for (const auto& ancestor : history.ancestors()) add(ancestor.timeline);
  add(history.timeline());

  std::vector<Loss::Range> missing;
  if (unfinished.empty()) return missing;
  auto next = finished.empty() ? unfinished.front() : size.segno(finished.back().end);
  for (auto each = unfinished.begin();;) {
    const wal::SegmentName first(timeline_of_segment(history, next, size), next, size);
    const auto row_end = end_of_unfinished_row(listing, first, size);
    each = std::lower_bound(each, unfinished.end(), row_end);
    if (each == unfinished.end()) return missing;
    missing.push_back({size.start(next), size.start(*each)});
    next = *each;
  }
}

}  // namespace

std::vector<Loss> find_unrecorded_losses(io::Shelf& directory, const Listing& listing,
                                         const Timelines& timelines, wal::SegmentSize segment_size,
                                         std::span<const Loss> recorded) {
  auto found = find_holes(listing, timelines, segment_size, recorded);
  for (const auto& loss : recorded)
    if (!loss.recorded) found.push_back(loss);
  wal::TimelineId newest = 0;
  for (const auto& entry : listing.segments)
    newest = std::max(newest, entry.name.segment.timeline());
  if (const auto history = timelines.history(newest); newest > 0 && history) {
    auto branches = find_lost_branches(directory, listing, *history, segment_size, recorded);
    std::move(branches.begin(), branches.end(), std::back_inserter(found));
  }
  return found;
}

std::uint64_t end_of_unfinished_row(const Listing& listing, wal::SegmentName first,
                                    wal::SegmentSize size,
                                    const std::function<bool(std::uint64_t segno)>& stops_before) {
  auto end = first.segno(size) + 1;
  const auto begin =
      std::partition_point(listing.segments.begin(), listing.segments.end(),
                           [&](const SegmentEntry& entry) { return entry.name.segment < first; });
  bool begun = false;
  for (const auto& forms : EachSegmentForms(std::span(begin, listing.segments.end()))) {
    const auto segment = forms.segment();
    if (segment.timeline() != first.timeline()) break;
    if (!segment.fits(size)) continue;
    if (segment == first) {
      begun = std::any_of(forms.partial.begin(), forms.partial.end(),
                          [](const SegmentEntry& entry) { return entry.bytes.value() > 0; });
      continue;
    }
    const bool goes_on = begun && segment.segno(size) == end && forms.finished.empty() &&
                         !(stops_before && stops_before(end));
    if (!goes_on) break;
    ++end;
  }
  return end;
}

std::vector<Loss::Range> needed_along(const Loss& hole, const wal::TimelineHistory& history,
                                      const Timelines& timelines, wal::SegmentSize segment_size) {
  const auto of_hole =
      timelines.history(hole.next_timeline).value_or(wal::TimelineHistory(hole.next_timeline));
  if (!of_hole.contains(hole.timeline)) {
    if (!history.contains(hole.timeline) && !history.contains(hole.next_timeline)) return {};
    return {{hole.begin, hole.end}};
  }
  // Between these positions, each of the two histories has segments of one timeline only.
  std::vector<wal::Lsn> borders = {hole.begin, hole.end};
  for (const auto* each : {&of_hole, &history})
    for (const auto& ancestor : each->ancestors()) {
      const auto border = segment_size.start_of(ancestor.switchpoint);
      if (border > hole.begin && border < hole.end) borders.push_back(border);
    }
  std::sort(borders.begin(), borders.end());
  std::vector<Loss::Range> needed;
  for (std::size_t i = 1; i < borders.size(); ++i) {
    const Loss::Range part{borders[i - 1], borders[i]};
    const auto segno = segment_size.segno(part.begin);
    if (part.begin == part.end || timeline_of_segment(of_hole, segno, segment_size) !=
                                      timeline_of_segment(history, segno, segment_size))
      continue;
    if (!needed.empty() && needed.back().end == part.begin)
      needed.back().end = part.end;
    else
      needed.push_back(part);
  }
  return needed;
}

std::vector<Loss> find_holes(const Listing& listing, const Timelines& timelines,
                             wal::SegmentSize segment_size, std::span<const Loss> recorded) {
  std::vector<Loss> found;
  std::vector<Loss> known(recorded.begin(), recorded.end());
  for (const auto& way : coverage(listing, timelines, segment_size)) {
    const auto history =
        timelines.history(way.timeline).value_or(wal::TimelineHistory(way.timeline));
    const auto add = [&](const Loss::Range& hole, const char* cause) {
      // Two histories share their ancestors' holes, which are known after the first of them.
      for (const auto& range :
           unknown(hole.begin, hole.end, history, known, timelines, segment_size)) {
        Loss loss;
        loss.timeline = timeline_of_segment(history, segment_size.segno(range.begin), segment_size);
        loss.next_timeline = timeline_of_segment(
            history, segment_size.segno(wal::Lsn(range.end.byte() - 1)), segment_size);
        loss.begin = loss.sound_end = loss.counted_to = range.begin;
        loss.end = range.end;
        loss.segment_size = segment_size;
        loss.recorded = false;
        loss.missing = {range};
        loss.cause = cause;
        known.push_back(loss);
        found.push_back(std::move(loss));
      }
    };
    for (std::size_t i = 1; i < way.ranges.size(); ++i)
      add({way.ranges[i - 1].end, way.ranges[i].begin},
          "found: segments are missing between finished ones");
    for (const auto& hole : before_unfinished(listing, history, way.ranges, segment_size))
      add(hole, "found: segments are missing before an unfinished one");
  }
  for (auto& hole : found)
    if (is_asked_for_at_a_start(hole, listing, segment_size, recorded))
      hole.cause +=
          "; a receiver that is started while that one is unfinished asks the server for them";
  std::sort(found.begin(), found.end(),
            [](const Loss& a, const Loss& b) { return a.begin < b.begin; });
  return found;
}

bool is_asked_for_at_a_start(const Loss& hole, const Listing& listing,
                             wal::SegmentSize segment_size, std::span<const Loss> recorded) {
  if (listing.segments.empty()) return false;
  const auto newest = listing.segments.back().name.segment.timeline();
  if (hole.kind != Loss::Kind::hole || hole.recorded || hole.timeline != newest) return false;
  const auto given_up = [&](wal::SegmentName unfinished) {
    const auto start = unfinished.start(segment_size);
    return start > hole.begin &&
           std::any_of(recorded.begin(), recorded.end(), [&](const Loss& loss) {
             return loss.kind == Loss::Kind::hole && loss.next_timeline == newest &&
                    loss.end == start;
           });
  };
  bool begun = false;  // by a segment of its own before the hole
  const auto begin = std::partition_point(
      listing.segments.begin(), listing.segments.end(),
      [&](const SegmentEntry& entry) { return entry.name.segment.timeline() < newest; });
  for (auto entry = begin; entry != listing.segments.end(); ++entry) {
    const auto& name = entry->name;
    if (!name.segment.fits(segment_size)) continue;
    begun = begun || name.segment.start(segment_size) <= hole.begin;
    const bool behind = name.segment.start(segment_size) >= hole.begin;
    if (!behind) continue;
    if (!name.partial) return false;
    if (name.method == codec::Method::none && given_up(name.segment)) return false;
  }
  return begun;
}

std::vector<Loss> find_lost_branches(io::Shelf& directory, const Listing& listing,
                                     const wal::TimelineHistory& history,
                                     wal::SegmentSize segment_size,
                                     std::span<const Loss> recorded) {
  std::vector<Loss> found;
  for (const auto& ancestor : history.ancestors()) {
    const auto known = std::any_of(recorded.begin(), recorded.end(), [&](const Loss& loss) {
      return loss.kind == Loss::Kind::lost_branch && loss.timeline == ancestor.timeline &&
             loss.begin == ancestor.switchpoint;
    });
    if (known) continue;
    const auto end = sound_end(directory, listing, ancestor.timeline,
                               segment_size.start_of(ancestor.switchpoint), segment_size);
    if (auto loss = lost_branch(history, ancestor.timeline, end, segment_size))
      found.push_back(std::move(*loss));
  }
  return found;
}

namespace {

struct SoundEnd {
  wal::Lsn end;
  bool behind_a_record = false;  ///< of those that were read
};

SoundEnd find_sound_end(io::Shelf& directory, const Listing& listing, wal::TimelineId timeline,
                        wal::Lsn from, wal::SegmentSize segment_size) {
  // A complete file of each segment, otherwise all partial ones; after a missing segment, another
  // range of WAL starts.
  std::map<std::uint64_t, std::vector<SegmentFileName>> there;
  for (const auto& forms : segment_forms(listing)) {
    const auto segment = forms.segment();
    if (segment.timeline() != timeline || !segment.fits(segment_size) ||
        segment.start(segment_size) < from)
      continue;
    auto& names = there[segment.segno(segment_size)];
    if (!forms.finished.empty())
      names = {forms.finished.front().name};
    else
      for (const auto& entry : forms.partial) names.push_back(entry.name);
  }
  auto next = segment_size.segno(from);
  auto each = there.begin();
  // A complete segment that another one follows is WAL to its end. The last one may not be: in a
  // server's pg_wal the last segment of a timeline has its full size, too.
  const auto followed = [&] {
    const auto following = std::next(each);
    return following != there.end() && following->first == next + 1;
  };
  for (; each != there.end() && each->first == next && !each->second.front().partial && followed();
       ++each)
    ++next;

  wal::RecordVerifier::Options options;
  options.segment_size = segment_size;
  options.timeline = timeline;
  const auto start = segment_size.start(next);
  auto verifier = verifier_at(directory, options, start);
  // Returns false if the WAL ends in it. (A compressed file may be cut off.)
  const auto read = [&](const SegmentFileName& name, wal::RecordVerifier& reading) {
    try {
      read_segment(directory, name, segment_size, [&](auto raw) { return !reading.feed(raw); });
      return reading.position() == segment_size.start(next + 1);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage && !is_gone(error)) throw;
      return false;
    }
  };
  // Each of several partial files may have been written last, so the one that reaches furthest
  // counts.
  for (bool on = true; on && each != there.end() && each->first == next; ++each, ++next) {
    on = false;
    const auto before = verifier;
    for (const auto& name : each->second) {
      auto reading = before;
      on = read(name, reading) || on;
      const auto reached = [](const wal::RecordVerifier& of) {
        return std::pair(of.last_record_end(), of.first_record_start());
      };
      if (reached(reading) >= reached(verifier)) verifier = std::move(reading);
    }
  }
  if (verifier.last_record_end().valid()) return {verifier.last_record_end(), true};
  // The first record that starts where reading did is incomplete: another one ended before it.
  return {verifier.first_record_start().valid() ? verifier.first_record_start() : start};
}

}  // namespace

wal::Lsn sound_end(io::Shelf& directory, const Listing& listing, wal::TimelineId timeline,
                   wal::Lsn from, wal::SegmentSize segment_size) {
  return find_sound_end(directory, listing, timeline, from, segment_size).end;
}

std::optional<wal::Lsn> archived_end(io::Shelf& directory, const Listing& listing,
                                     wal::TimelineId timeline, wal::Lsn from,
                                     wal::SegmentSize segment_size) {
  const auto found = find_sound_end(directory, listing, timeline, from, segment_size);
  const auto is_before = [&](const SegmentEntry& entry) {
    const auto& segment = entry.name.segment;
    return !entry.name.partial && segment.timeline() == timeline && segment.fits(segment_size) &&
           segment.start(segment_size) < found.end;
  };
  const bool has_some = found.behind_a_record ||
                        std::any_of(listing.segments.begin(), listing.segments.end(), is_before);
  return has_some ? std::optional(found.end) : std::nullopt;
}

std::optional<Loss> lost_branch(const wal::TimelineHistory& history, wal::TimelineId timeline,
                                wal::Lsn end, wal::SegmentSize segment_size) {
  const auto switchpoint = history.end_of(timeline);
  if (!switchpoint || end <= *switchpoint) return std::nullopt;
  Loss loss;
  loss.kind = Loss::Kind::lost_branch;
  loss.timeline = timeline;
  loss.next_timeline = *history.successor_of(timeline);
  loss.begin = loss.sound_end = loss.counted_to = *switchpoint;
  loss.end = end;
  loss.segment_size = segment_size;
  loss.recorded = false;
  loss.cause =
      fmt::format("timeline {} begins at {}, before the end of the archived WAL of timeline {}",
                  loss.next_timeline, *switchpoint, timeline);
  return loss;
}

namespace {

/// Of records that start in [begin, end): the commits, and the prepared transactions that have not
/// ended there.
class CommitCounter final : public wal::RecordObserver {
 public:
  CommitCounter(wal::Lsn begin, wal::Lsn end)
      : begin_(begin), end_(end), ends_([this](const wal::TransactionEnd& found) {
          if (!found.aborted) ++commits_;
          prepared_.erase(found.commit.transaction);
          return true;
        }) {}

  bool wants(const wal::RecordHeader& header) override {
    return ends_.wants(header) || wal::is_prepare(header);
  }
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (start < begin_ || start >= end_) return;
    if (wal::is_prepare(header)) prepared_.insert(header.transaction);
    ends_.on_record(start, end, header, body);
  }

  [[nodiscard]] std::uint64_t commits() const { return commits_; }
  [[nodiscard]] std::uint64_t prepared() const { return prepared_.size(); }

 private:
  const wal::Lsn begin_;
  const wal::Lsn end_;
  std::uint64_t commits_ = 0;
  std::set<std::uint32_t> prepared_;
  wal::TransactionObserver ends_;
};

}  // namespace

void count_commits(io::Shelf& directory, const Listing& listing, Loss& branch) {
  const auto& size = branch.segment_size;
  CommitCounter observer(branch.begin, branch.end);
  wal::RecordVerifier::Options options;
  options.segment_size = size;
  options.timeline = branch.timeline;
  options.observer = &observer;
  const auto first = size.segno(branch.begin);
  const auto last = size.segno(wal::Lsn(branch.end.byte() - 1));
  wal::RecordVerifier verifier(options, size.start(first));
  std::uint64_t read = 0;
  bool enough = false;
  try {
    std::map<std::uint64_t, SegmentFileName> there;
    for (const auto& forms : segment_forms(listing))
      if (const auto name = forms.segment(); name.timeline() == branch.timeline && name.fits(size))
        there.emplace(name.segno(size), forms.best().name);
    for (auto segno = first; segno <= last && !enough; ++segno) {
      const auto found = there.find(segno);
      if (found == there.end()) break;
      read_segment(directory, found->second, size, [&](auto wal) {
        enough = verifier.feed(wal) || read > kMostCounted;
        read += wal.size();
        return !enough;
      });
    }
  } catch (const Error&) {
    // (Damage is found by verify; the count covers the files present.)
  }
  branch.commits = observer.commits();
  branch.prepared = observer.prepared();
  branch.counted_to = std::clamp(verifier.last_record_end(), branch.begin, branch.end);
}

}  // namespace weir::archive
