#include "import/plan.h"

#include <algorithm>

namespace weir::importing {

namespace {

/// A history in the archive that a recovery may follow: its segments, by number.
struct Way {
  wal::TimelineHistory history;
  std::map<std::uint64_t, bool> there{};  ///< true: complete
  std::uint64_t begin = UINT64_MAX;       ///< the first existing one
  std::uint64_t end = 0;                  ///< after the last complete one
  /// Numbers of recorded holes, [first, second): no complete segment has to follow them.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> holes{};

  [[nodiscard]] bool empty() const { return begin == UINT64_MAX; }
  [[nodiscard]] bool has_finished(std::uint64_t segno) const {
    const auto found = there.find(segno);
    return found != there.end() && found->second;
  }
  [[nodiscard]] bool in_recorded_hole(std::uint64_t segno) const {
    return std::any_of(holes.begin(), holes.end(), [&](const auto& hole) {
      return hole.first <= segno && segno < hole.second;
    });
  }
};

class Planner {
 public:
  Planner(const Facts& facts, const Lineage& lineage)
      : facts_(facts), size_(facts.segment_size), lineage_(lineage) {}

  Plan run() {
    find_ways();
    for (const auto& name : facts_.offered) plan_.places[name] = place_of(name);
    std::set<wal::SegmentName> taken;
    for (const auto& way : ways_) make_runs(way, taken);
    return std::move(plan_);
  }

 private:
  /// The timelines that the archive has WAL of and, with `extend`, those that descend from them.
  void find_ways() {
    std::set<wal::TimelineId> tips;
    for (const auto& entry : facts_.listing.segments) {
      tips.insert(entry.name.segment.timeline());
      if (!entry.name.partial) finished_.insert(entry.name.segment);
    }
    newest_ = tips.empty() ? 0 : *tips.rbegin();
    empty_ = tips.empty();
    for (const auto& name : facts_.offered)
      if (goes_on(name.timeline()) && facts_.extend) tips.insert(name.timeline());
    const auto all = tips;
    for (const auto tip : all) {
      const auto history = lineage_.history(tip);
      for (const auto& ancestor : history.ancestors()) tips.erase(ancestor.timeline);
    }
    for (const auto tip : tips) ways_.push_back(way_of(lineage_.history(tip)));
  }

  /// True for a newer timeline that starts where the archive's newest one is part of its history.
  [[nodiscard]] bool goes_on(wal::TimelineId timeline) const {
    if (empty_) return true;
    return timeline > newest_ && lineage_.history(timeline).contains(newest_);
  }

  [[nodiscard]] bool is_on(const Way& way, wal::SegmentName name) const {
    return archive::timeline_of_segment(way.history, name.segno(size_), size_) == name.timeline() &&
           way.history.contains(name.timeline());
  }

  [[nodiscard]] Way way_of(const wal::TimelineHistory& history) const {
    Way way{history};
    for (const auto& entry : facts_.listing.segments) {
      const auto& name = entry.name.segment;
      if (!name.fits(size_) || !is_on(way, name)) continue;
      const auto segno = name.segno(size_);
      way.begin = std::min(way.begin, segno);
      auto& finished = way.there[segno];
      if (entry.name.partial) continue;
      finished = true;
      way.end = std::max(way.end, segno + 1);
    }
    for (const auto& loss : facts_.losses) {
      if (loss.kind != archive::Loss::Kind::hole || !history.contains(loss.timeline) ||
          !history.contains(loss.next_timeline))
        continue;
      // From the segment on in which the history leaves that timeline, it is of another branch.
      const auto left = history.end_of(loss.next_timeline);
      for (const auto& range : loss.missing) {
        const auto first = size_.segno(range.begin);
        auto behind = size_.segno(wal::Lsn(range.end.byte() - 1)) + 1;
        if (left) behind = std::min(behind, size_.segno(*left));
        if (first < behind) way.holes.emplace_back(first, behind);
      }
    }
    return way;
  }

  [[nodiscard]] Place place_of(wal::SegmentName name) {
    const auto segno = name.segno(size_);
    if (finished_.contains(name) && !facts_.damaged.contains(name)) return Place::present;
    Place best = Place::unknown_way;
    for (const auto& way : ways_) {
      if (!is_on(way, name)) {
        if (way.history.contains(name.timeline()) && best == Place::unknown_way)
          best = Place::not_on_way;
        continue;
      }
      const auto here = place_on(way, segno, name.timeline());
      if (here == Place::wanted) return here;
      best = here;
    }
    if (best == Place::unknown_way && goes_on(name.timeline())) return Place::behind;
    return best;
  }

  [[nodiscard]] Place place_on(const Way& way, std::uint64_t segno,
                               wal::TimelineId timeline) const {
    if (way.empty()) return facts_.extend ? Place::wanted : Place::behind;
    const bool recorded = way.in_recorded_hole(segno);
    if (segno < way.begin && !recorded) return facts_.extend ? Place::wanted : Place::before;
    const bool inside = segno < way.end;
    // A receiver streams after its flush position, and no other process writes there. If its
    // position is unknown, it may be anywhere after the last complete segment.
    if (facts_.receiver && !inside) {
      const auto& durable = facts_.durable;
      if (!durable || !recorded ||
          (durable->timeline == timeline && durable->flush < size_.start(segno + 1)) ||
          durable->timeline < timeline)
        return Place::behind;
    }
    if (inside || recorded) return Place::wanted;
    return facts_.extend ? Place::wanted : Place::behind;
  }

  void make_runs(const Way& way, std::set<wal::SegmentName>& taken) {
    std::vector<std::uint64_t> wanted;
    for (const auto& [name, place] : plan_.places)
      if (place == Place::wanted && is_on(way, name) && taken.insert(name).second)
        wanted.push_back(name.segno(size_));
    std::sort(wanted.begin(), wanted.end());
    for (std::size_t i = 0; i < wanted.size();) {
      Run run{way.history, wanted[i], wanted[i] + 1};
      while (++i < wanted.size() && wanted[i] == run.behind) ++run.behind;
      run.left = run.first > 0 && way.has_finished(run.first - 1);
      run.right = way.there.contains(run.behind);
      run.front = way.empty() || run.first <= way.begin;
      run.back =
          way.there.lower_bound(run.behind) == way.there.end() && !way.in_recorded_hole(run.behind);
      if (run.behind > way.end) plan_.needs_lock = true;
      plan_.runs.push_back(std::move(run));
    }
  }

  const Facts& facts_;
  const wal::SegmentSize size_;
  const Lineage& lineage_;
  std::vector<Way> ways_;
  std::set<wal::SegmentName> finished_;
  wal::TimelineId newest_ = 0;
  bool empty_ = true;
  Plan plan_;
};

}  // namespace

Lineage Lineage::of(const archive::Timelines& timelines) {
  std::map<wal::TimelineId, wal::TimelineHistory> histories;
  for (const auto timeline : timelines.known())
    if (const auto history = timelines.history(timeline)) histories.emplace(timeline, *history);
  return Lineage(std::move(histories));
}

wal::TimelineHistory Lineage::history(wal::TimelineId timeline) const {
  const auto* const found = find(timeline);
  return found != nullptr ? *found : wal::TimelineHistory(timeline);
}

const wal::TimelineHistory* Lineage::find(wal::TimelineId timeline) const {
  const auto found = histories_.find(timeline);
  return found == histories_.end() ? nullptr : &found->second;
}

Plan make_plan(const Facts& facts, const Lineage& lineage) { return Planner(facts, lineage).run(); }

}  // namespace weir::importing
