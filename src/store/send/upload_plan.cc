#include "store/send/upload_plan.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace weir::store {

std::string UploadItem::to_string() const {
  if (timeline == 0) return "the store's manifest";
  return segment ? segment->to_string() : wal::history_name(timeline);
}

bool has(const Mark& mark, const UploadItem& item) {
  return item.segment ? mark.has(*item.segment) : mark.has_history(item.timeline);
}

void UploadPlan::offer(const UploadItem& item) {
  if (has(mark_, item)) return;
  auto& entries = lines_[item.timeline].entries;
  // Usually after all others; but one may be imported into a hole.
  const auto at = std::lower_bound(
      entries.begin(), entries.end(), item,
      [](const Entry& entry, const UploadItem& wanted) { return entry.item < wanted; });
  if (at == entries.end() || at->item != item) entries.insert(at, Entry{item});
}

void UploadPlan::offer(const archive::Listing& listing) {
  for (const auto& history : listing.histories) offer(UploadItem{history.timeline});
  std::optional<wal::SegmentName> last;  // other forms are listed again
  for (const auto& entry : listing.segments) {
    const auto& segment = entry.name.segment;
    if (entry.name.partial || last == segment || !segment.fits(mark_.segment_size)) continue;
    last = segment;
    offer(UploadItem{segment.timeline(), segment});
  }
}

void UploadPlan::order_histories(const archive::Timelines& timelines) {
  skipped_by_.clear();
  const auto known = timelines.known();
  for (const auto later : known)
    if (const auto history = timelines.history(later))
      for (const auto timeline : known)
        if (timeline < later && !history->contains(timeline)) skipped_by_[timeline].insert(later);
}

/// Only later timelines hold it back, so one of several can always be started.
bool UploadPlan::is_held_back(wal::TimelineId timeline) const {
  const auto later = skipped_by_.find(timeline);
  return later != skipped_by_.end() &&
         std::any_of(later->second.begin(), later->second.end(), [&](wal::TimelineId each) {
           const auto line = lines_.find(each);
           return line != lines_.end() && !line->second.stuck && awaits_history(line->second);
         });
}

std::optional<UploadItem> UploadPlan::next(std::size_t window) {
  if (under_way_ >= window) return std::nullopt;
  for (auto& [timeline, line] : lines_) {
    if (line.stuck || (awaits_history(line) && is_held_back(timeline))) continue;
    for (auto& entry : line.entries) {
      if (entry.state == State::waiting) {
        entry.state = State::under_way;
        ++under_way_;
        return entry.item;
      }
      // A segment is useless without the history that says where its timeline starts.
      if (!entry.item.segment && entry.state == State::under_way) break;
    }
  }
  return std::nullopt;
}

UploadPlan::Entry& UploadPlan::find(const UploadItem& item) {
  auto& entries = lines_[item.timeline].entries;
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const Entry& entry) { return entry.item == item; });
  PGWEIR_CHECK(found != entries.end() && found->state == State::under_way && under_way_ > 0);
  --under_way_;
  return *found;
}

/// The only place where the mark advances.
bool UploadPlan::advance(Line& line) {
  bool moved = false;
  while (!line.entries.empty() && (line.entries.front().state == State::stored ||
                                   line.entries.front().state == State::gone)) {
    const auto& front = line.entries.front();
    if (front.state == State::stored) {
      if (front.item.segment)
        mark_.add(*front.item.segment);
      else
        mark_.add_history(front.item.timeline);
      PGWEIR_CHECK(has(mark_, front.item));
      moved = true;
    }
    settled_.push_back(front.item);
    line.entries.pop_front();
  }
  return moved;
}

bool UploadPlan::stored(const UploadItem& item) {
  find(item).state = State::stored;
  return advance(lines_[item.timeline]);
}

bool UploadPlan::gone(const UploadItem& item) {
  find(item).state = State::gone;
  return advance(lines_[item.timeline]);
}

void UploadPlan::again(const UploadItem& item) { find(item).state = State::waiting; }

void UploadPlan::stuck(const UploadItem& item) {
  find(item).state = State::waiting;
  lines_[item.timeline].stuck = true;
}

void UploadPlan::forget(const UploadItem& item) {
  if (item.segment)
    mark_.remove(*item.segment);
  else
    std::erase(mark_.histories, item.timeline);
}

void UploadPlan::resume() {
  for (auto& [timeline, line] : lines_) line.stuck = false;
}

std::size_t UploadPlan::waiting() const {
  std::size_t count = 0;
  for (const auto& [timeline, line] : lines_)
    if (!line.stuck)
      count += static_cast<std::size_t>(
          std::count_if(line.entries.begin(), line.entries.end(),
                        [](const Entry& entry) { return entry.state == State::waiting; }));
  return count;
}

std::vector<UploadItem> UploadPlan::pending() const {
  std::vector<UploadItem> items;
  for (const auto& [timeline, line] : lines_)
    for (const auto& entry : line.entries)
      if (entry.state != State::gone) items.push_back(entry.item);
  return items;
}

}  // namespace weir::store
