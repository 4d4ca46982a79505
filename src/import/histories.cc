#include "import/histories.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace weir::importing {

namespace {

/// True if the shorter list of earlier timelines is the start of the longer one.
bool agree(const wal::TimelineHistory& longer, const wal::TimelineHistory& shorter) {
  if (!longer.contains(shorter.timeline())) return true;
  const auto& front = shorter.ancestors();
  const auto& all = longer.ancestors();
  return all.size() > front.size() && all[front.size()].timeline == shorter.timeline() &&
         std::equal(front.begin(), front.end(), all.begin());
}

}  // namespace

HistoryPlan plan_histories(const std::map<wal::TimelineId, OfferedHistory>& offered,
                           const archive::Timelines& timelines, const archive::Listing& listing,
                           bool extend, std::vector<LeftOut>& left_out) {
  HistoryPlan plan;
  plan.lineage = Lineage::of(timelines);
  const auto known = timelines.known();
  std::set<wal::TimelineId> with_segments;
  for (const auto& entry : listing.segments) with_segments.insert(entry.name.segment.timeline());
  const auto newest = with_segments.empty() ? wal::TimelineId{0} : *with_segments.rbegin();

  for (const auto& [timeline, history] : offered) {
    const auto leave_out = [&, &offer = history](Reason reason, std::string what,
                                                 std::string hint = {}) {
      left_out.push_back({offer.path, reason, std::move(what), std::move(hint)});
    };
    if (std::find(known.begin(), known.end(), timeline) != known.end()) {
      const auto ours = timelines.history(timeline);
      if (ours == history.history)
        ++plan.present;
      else if (ours)
        leave_out(Reason::conflict,
                  fmt::format("it contradicts the archive's {}", wal::history_name(timeline)),
                  "Two servers were promoted to the same timeline. Find out which one the archive "
                  "follows.");
      else
        leave_out(Reason::conflict,
                  fmt::format("the archive's {} cannot be read", wal::history_name(timeline)),
                  "Compare the two, move the archive's away, and run the command again.");
      continue;
    }
    const auto contradicts = [&, &offer = history](wal::TimelineId other) {
      const auto* const their = plan.lineage.find(other);
      return their != nullptr && (!agree(offer.history, *their) || !agree(*their, offer.history));
    };
    auto others = known;
    for (const auto& [other, unused] : offered) others.push_back(other);
    const auto contradicted = std::find_if(others.begin(), others.end(), contradicts);
    if (contradicted != others.end()) {
      leave_out(Reason::conflict, fmt::format("it contradicts {} about the timelines before them",
                                              wal::history_name(*contradicted)));
      continue;
    }
    plan.lineage.add(history.history);
    const bool of_ours = with_segments.contains(timeline) ||
                         std::any_of(with_segments.begin(), with_segments.end(),
                                     [&, id = timeline](wal::TimelineId other) {
                                       return plan.lineage.history(other).contains(id);
                                     });
    const bool goes_on = newest == 0 || history.history.contains(newest);
    if (of_ours || (goes_on && extend))
      plan.wanted.push_back({history, !of_ours});
    else if (goes_on)
      leave_out(Reason::not_asked_for, "its timeline is newer than what the archive holds",
                "With --extend, it is imported together with its segments.");
    else
      plan.others.push_back(history);
  }
  return plan;
}

}  // namespace weir::importing
