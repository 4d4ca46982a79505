#include "restore/prefetch_plan.h"

#include <algorithm>

namespace weir::restore {

PrefetchPlan::Answer PrefetchPlan::asked(wal::SegmentName segment) {
  const auto* const slot = find(segment);
  if (slot == nullptr) {
    // The same one again (a server that restarts, or its first request): the plan is kept.
    const auto goes_on = behind(segment);
    const auto first = slots_.empty() ? next_ : std::optional(slots_.front().segment);
    if (!goes_on || first != goes_on) begin_behind(segment);
    // A failed attempt is repeated: the file may exist by now.
    while (!slots_.empty() && slots_.back().state == State::failed) {
      next_ = slots_.back().segment;
      slots_.pop_back();
    }
    return Answer::miss;
  }
  while (slots_.front().segment != segment) slots_.pop_front();
  switch (slots_.front().state) {
    case State::fetching:
    case State::syncing:
      return Answer::wait;
    case State::here:
    case State::synced:
      return Answer::here;
    case State::failed:
      break;
  }
  begin_behind(segment);
  return Answer::miss;
}

void PrefetchPlan::handed_over(wal::SegmentName segment) {
  if (!slots_.empty() && slots_.front().segment == segment) slots_.pop_front();
}

std::optional<wal::SegmentName> PrefetchPlan::begin_fetch() {
  if (!next_ || slots_.size() >= most_) return std::nullopt;
  if (!slots_.empty() && slots_.back().state == State::failed) return std::nullopt;
  const auto under_way = std::count_if(
      slots_.begin(), slots_.end(), [](const Slot& each) { return each.state == State::fetching; });
  if (static_cast<std::size_t>(under_way) >= at_once_) return std::nullopt;
  const auto segment = *next_;
  slots_.push_back({segment, State::fetching});
  next_ = behind(segment);
  return segment;
}

void PrefetchPlan::fetched(wal::SegmentName segment) {
  auto* const slot = find(segment);
  if (slot != nullptr && slot->state == State::fetching) slot->state = State::here;
}

void PrefetchPlan::failed(wal::SegmentName segment) {
  auto* const slot = find(segment);
  if (slot == nullptr) return;
  slot->state = State::failed;
  while (slots_.back().segment != segment) slots_.pop_back();
  next_ = behind(segment);
}

std::optional<wal::SegmentName> PrefetchPlan::begin_sync() {
  const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                 [](const Slot& each) { return each.state == State::here; });
  if (slot == slots_.end()) return std::nullopt;
  slot->state = State::syncing;
  return slot->segment;
}

void PrefetchPlan::synced(wal::SegmentName segment) {
  auto* const slot = find(segment);
  if (slot != nullptr && slot->state == State::syncing) slot->state = State::synced;
}

bool PrefetchPlan::wanted(wal::SegmentName segment) const { return find(segment) != nullptr; }

bool PrefetchPlan::empty_handed() const {
  if (slots_.empty()) return !next_;
  return slots_.front().state == State::failed;
}

void PrefetchPlan::begin_behind(wal::SegmentName segment) {
  slots_.clear();
  next_ = behind(segment);
}

PrefetchPlan::Slot* PrefetchPlan::find(wal::SegmentName segment) {
  const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                 [&](const Slot& each) { return each.segment == segment; });
  return slot == slots_.end() ? nullptr : &*slot;
}

const PrefetchPlan::Slot* PrefetchPlan::find(wal::SegmentName segment) const {
  return const_cast<PrefetchPlan*>(this)->find(segment);
}

/// nullopt at the end of all segments.
std::optional<wal::SegmentName> PrefetchPlan::behind(wal::SegmentName segment) const {
  if (!segment.fits(size_)) return std::nullopt;
  const auto start = segment.start(size_);
  if (start + size_.bytes() < start) return std::nullopt;
  return wal::SegmentName(segment.timeline(), segment.segno(size_) + 1, size_);
}

}  // namespace weir::restore
