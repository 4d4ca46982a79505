#include "verify/plan.h"

#include <algorithm>
#include <set>

#include "base/error.h"

namespace weir::verify {

namespace {

using Key = std::pair<wal::TimelineId, std::uint64_t>;

class Planner {
 public:
  Planner(const archive::Listing& listing, const archive::Timelines& timelines,
          wal::SegmentSize size, const Scope& scope)
      : listing_(listing), timelines_(timelines), size_(size), scope_(scope) {}

  Plan run(std::size_t chunk_segments) {
    make_nodes();
    link();
    choose_histories();
    choose_nodes();
    find_switch_copies();
    make_chunks(chunk_segments);
    return std::move(plan_);
  }

 private:
  void make_nodes() {
    for (const auto& entry : listing_.segments) {
      if (!entry.name.segment.fits(size_)) continue;
      const Key key(entry.name.segment.timeline(), entry.name.segment.segno(size_));
      const auto [at, added] = index_.try_emplace(key, plan_.nodes.size());
      if (added)
        plan_.nodes.push_back(
            {.name = entry.name.segment, .timeline = key.first, .segno = key.second});
      auto& node = plan_.nodes[at->second];
      (entry.name.partial ? node.partial : node.finished).push_back(entry.name);
    }
  }

  [[nodiscard]] std::optional<std::size_t> find(wal::TimelineId timeline,
                                                std::uint64_t segno) const {
    const auto found = index_.find({timeline, segno});
    if (found == index_.end()) return std::nullopt;
    return found->second;
  }

  /// Without a history file nothing is known but the timeline itself.
  [[nodiscard]] const wal::TimelineHistory& history(wal::TimelineId timeline) {
    const auto [at, added] = histories_.try_emplace(timeline, wal::TimelineHistory(timeline));
    if (added) at->second = timelines_.history(timeline).value_or(wal::TimelineHistory(timeline));
    return at->second;
  }

  void link() {
    for (std::size_t i = 0; i < plan_.nodes.size(); ++i) {
      auto& node = plan_.nodes[i];
      if (node.segno == 0) continue;
      const auto timeline =
          archive::timeline_of_segment(history(node.timeline), node.segno - 1, size_);
      node.parent = find(timeline, node.segno - 1);
      if (node.parent) plan_.nodes[*node.parent].children.push_back(i);
    }
  }

  void choose_histories() {
    std::set<wal::TimelineId> tips;
    if (scope_.timeline) {
      tips.insert(*scope_.timeline);
    } else {
      for (const auto& node : plan_.nodes) tips.insert(node.timeline);
      const auto with_segments = tips;
      for (const auto timeline : with_segments)
        for (const auto& ancestor : history(timeline).ancestors()) tips.erase(ancestor.timeline);
      if (scope_.through) tips.insert(scope_.through->first);
    }
    for (const auto tip : tips) {
      const auto& way = history(tip);
      if (scope_.through) {
        const auto [timeline, position] = *scope_.through;
        if (!way.contains(timeline) ||
            way.end_of(timeline).value_or(wal::Lsn(UINT64_MAX)) < position)
          continue;
        // Listed separately only if no longer history includes it.
        if (tip == timeline && !scope_.timeline && leads_on(tips, tip, position)) continue;
      }
      plan_.paths.push_back({way, {}});
      walk(plan_.paths.back());
    }
  }

  [[nodiscard]] bool leads_on(const std::set<wal::TimelineId>& tips, wal::TimelineId timeline,
                              wal::Lsn position) {
    return std::any_of(tips.begin(), tips.end(), [&](wal::TimelineId tip) {
      const auto end = history(tip).end_of(timeline);
      return tip != timeline && end && *end >= position;
    });
  }

  /// From the first to the last existing segment, or the requested one.
  void walk(Path& path) {
    std::map<std::uint64_t, std::size_t> there;
    const auto add = [&](wal::TimelineId timeline) {
      for (auto at = index_.lower_bound({timeline, 0});
           at != index_.end() && at->first.first == timeline; ++at)
        if (archive::timeline_of_segment(path.history, at->first.second, size_) == timeline)
          there.emplace(at->first.second, at->second);
    };
    for (const auto& ancestor : path.history.ancestors()) add(ancestor.timeline);
    add(path.history.timeline());
    if (there.empty() && !scope_.first_segno) return;

    const auto first = scope_.first_segno.value_or(there.empty() ? 0 : there.begin()->first);
    auto last = scope_.last_segno;
    if (!last) last = there.empty() ? first : std::max(first, there.rbegin()->first);
    // WAL of later segments proves that those before one were completed: of a row of partial ones,
    // as a receiver may have, only if it is not the last row.
    std::uint64_t behind_completed = 0;
    for (auto before = there.end(), each = there.begin(); each != there.end(); before = each++)
      if (plan_.nodes[each->second].is_finished() ||
          (before != there.end() && before->first + 1 < each->first))
        behind_completed = each->first;
    // A hole of a million segments (one stray file far ahead) is one step.
    for (auto segno = first; segno <= *last;) {
      const auto next = there.lower_bound(segno);
      if (next == there.end() || next->first > segno) {
        const auto behind = next == there.end() ? *last + 1 : std::min(next->first, *last + 1);
        gap(path, segno, behind);
        path.steps.push_back({.segno = segno});
        segno = behind;
        continue;
      }
      const bool inside = !plan_.nodes[next->second].is_finished() && segno < behind_completed;
      if (inside) gap(path, segno, segno + 1, &plan_.nodes[next->second]);
      path.steps.push_back({segno, next->second, inside});
      ++segno;
    }
  }

  void gap(const Path& path, std::uint64_t first, std::uint64_t behind,
           const Node* unfinished = nullptr) {
    // Histories share their ancestors; WAL missing there is reported once.
    const auto timeline = archive::timeline_of_segment(path.history, first, size_);
    const auto last_timeline = archive::timeline_of_segment(path.history, behind - 1, size_);
    Finding finding;
    finding.kind = FindingKind::gap;
    finding.timeline = timeline;
    finding.file = wal::SegmentName(timeline, first, size_).to_string();
    finding.to_file = wal::SegmentName(last_timeline, behind - 1, size_).to_string();
    finding.lsn = size_.start(first);
    finding.loss = LostRange{timeline, size_.start(first), size_.start(behind)};
    if (unfinished != nullptr) {
      finding.what = fmt::format("segment is incomplete ({}), but later segments exist",
                                 unfinished->partial.front().to_string());
      finding.hint =
          "If the server still has this segment, have the receiver fetch it again, or copy it from "
          "the server's pg_wal. Recovery ends where the valid part of the .partial file ends.";
    } else {
      const auto count = behind - first;
      finding.what = count == 1 ? "segment is missing"
                                : fmt::format("{} segments in a row are missing", count);
      finding.hint =
          "Look for these names in the pg_wal of the servers and in other archives: \"pgweir "
          "import\" checks and imports them. Without them, no recovery can pass this position: "
          "take a new base backup.";
    }
    const auto same = [&](const Finding& known) {
      return known.file == finding.file && known.to_file == finding.to_file;
    };
    if (std::none_of(plan_.gaps.begin(), plan_.gaps.end(), same))
      plan_.gaps.push_back(std::move(finding));
  }

  void choose_nodes() {
    const bool everything = !scope_.first_segno && !scope_.last_segno && !scope_.timeline;
    for (auto& node : plan_.nodes) node.chosen = everything;
    for (const auto& path : plan_.paths)
      for (const auto& step : path.steps)
        if (step.node) plan_.nodes[*step.node].chosen = true;
  }

  void find_switch_copies() {
    std::set<std::pair<std::size_t, std::size_t>> seen;
    for (const auto& path : plan_.paths) {
      for (const auto& ancestor : path.history.ancestors()) {
        const auto at = ancestor.switchpoint;
        if (size_.offset(at) == 0) continue;
        const auto segno = size_.segno(at);
        const auto old_node = find(ancestor.timeline, segno);
        const auto new_node = find(archive::timeline_of_segment(path.history, segno, size_), segno);
        if (!old_node || !new_node || *old_node == *new_node || !plan_.nodes[*new_node].chosen ||
            !seen.insert({*old_node, *new_node}).second)
          continue;
        plan_.switch_copies.push_back({*old_node, *new_node, at});
      }
    }
  }

  /// Cut where a boundary is checked anyway by continuing into the next chunk.
  void make_chunks(std::size_t most) {
    std::vector<std::size_t> chunk;
    const auto flush = [&] {
      if (!chunk.empty()) plan_.chunks.push_back(std::move(chunk));
      chunk.clear();
    };
    for (std::size_t i = 0; i < plan_.nodes.size(); ++i) {
      const auto& node = plan_.nodes[i];
      if (!node.chosen) continue;
      if (!node.is_finished()) {
        // Checked after its parent, with the state that the parent leaves.
        if (!node.parent || !plan_.nodes[*node.parent].chosen) plan_.lone_partials.push_back(i);
        continue;
      }
      const bool continues = !chunk.empty() && node.parent == chunk.back() &&
                             plan_.nodes[chunk.back()].timeline == node.timeline;
      const bool after_switch =
          continues && plan_.nodes[chunk.front()].parent &&
          plan_.nodes[*plan_.nodes[chunk.front()].parent].timeline != node.timeline;
      if (!continues || chunk.size() >= most || after_switch) flush();
      chunk.push_back(i);
    }
    flush();
    // Each complete segment is in one chunk: none is left out, and none counts twice.
    std::size_t in_chunks = 0;
    for (const auto& each : plan_.chunks) in_chunks += each.size();
    PGWEIR_CHECK(in_chunks == static_cast<std::size_t>(std::count_if(
                                  plan_.nodes.begin(), plan_.nodes.end(), [](const Node& node) {
                                    return node.chosen && node.is_finished();
                                  })));
  }

  const archive::Listing& listing_;
  const archive::Timelines& timelines_;
  const wal::SegmentSize size_;
  const Scope& scope_;
  std::map<Key, std::size_t> index_;
  std::map<wal::TimelineId, wal::TimelineHistory> histories_;
  Plan plan_;
};

}  // namespace

Plan make_plan(const archive::Listing& listing, const archive::Timelines& timelines,
               wal::SegmentSize size, const Scope& scope, std::size_t chunk_segments) {
  return Planner(listing, timelines, size, scope).run(chunk_segments);
}

}  // namespace weir::verify
