#include "wal/timeline_history.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace weir::wal {

namespace {

constexpr std::string_view kBlanks = " \t\r\f\v";

/// Removes the next blank-separated word from the front of `line`.
std::string_view take_word(std::string_view& line) {
  const auto begin = line.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) {
    line = {};
    return {};
  }
  auto end = line.find_first_of(kBlanks, begin);
  if (end == std::string_view::npos) end = line.size();
  const auto word = line.substr(begin, end - begin);
  line = line.substr(end);
  return word;
}

std::optional<TimelineId> parse_timeline(std::string_view word) {
  TimelineId value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value, 10);
  if (error != std::errc() || end != word.data() + word.size() || value == 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<TimelineHistory> TimelineHistory::parse(TimelineId timeline,
                                                      std::string_view content) {
  TimelineHistory history(timeline);
  TimelineId newest = 0;
  while (!content.empty()) {
    const auto newline = content.find('\n');
    auto line = content.substr(0, newline);
    content = newline == std::string_view::npos ? std::string_view{} : content.substr(newline + 1);

    const auto first = take_word(line);
    if (first.empty() || first.front() == '#') continue;
    const auto ancestor = parse_timeline(first);
    const auto switchpoint = Lsn::parse(take_word(line));
    if (!ancestor || !switchpoint || !switchpoint->valid() || *ancestor >= timeline)
      return std::nullopt;
    if (*ancestor <= newest) return std::nullopt;
    newest = *ancestor;
    history.add({*ancestor, *switchpoint});
  }
  if (newest == 0) return std::nullopt;
  return history;
}

/// A recovery along timeline 3 that ends before 3 begins writes "3" and that position after the
/// line of 2 (writeTimeLineHistory() gets recoveryTargetTLI in xlog.c). What it has replayed is 2
/// up to there, and nothing of 3: tliOfPointInHistory() in timeline.c finds the same.
void TimelineHistory::add(Ancestor next) {
  if (ancestors_.empty() || ancestors_.back().switchpoint <= next.switchpoint) {
    ancestors_.push_back(next);
    return;
  }
  while (ancestors_.size() > 1 && ancestors_[ancestors_.size() - 2].switchpoint >= next.switchpoint)
    ancestors_.pop_back();
  ancestors_.back().switchpoint = next.switchpoint;
  ancestors_.back().is_cut = true;
}

bool TimelineHistory::contains(TimelineId timeline) const {
  return timeline == timeline_ || end_of(timeline).has_value();
}

std::optional<Lsn> TimelineHistory::end_of(TimelineId timeline) const {
  for (const auto& ancestor : ancestors_)
    if (ancestor.timeline == timeline) return ancestor.switchpoint;
  return std::nullopt;
}

bool TimelineHistory::is_cut(TimelineId timeline) const {
  return std::any_of(ancestors_.begin(), ancestors_.end(), [&](const Ancestor& ancestor) {
    return ancestor.timeline == timeline && ancestor.is_cut;
  });
}

std::optional<Lsn> TimelineHistory::begin_of(TimelineId timeline) const {
  Lsn begin;
  for (const auto& ancestor : ancestors_) {
    if (ancestor.timeline == timeline) return begin;
    begin = ancestor.switchpoint;
  }
  if (timeline == timeline_) return begin;
  return std::nullopt;
}

TimelineHistory TimelineHistory::of_parent() const {
  PGWEIR_CHECK(!ancestors_.empty());
  TimelineHistory parent(ancestors_.back().timeline);
  parent.ancestors_.assign(ancestors_.begin(), ancestors_.end() - 1);
  return parent;
}

TimelineId TimelineHistory::timeline_of(Lsn lsn) const {
  for (const auto& ancestor : ancestors_)
    if (lsn < ancestor.switchpoint) return ancestor.timeline;
  return timeline_;
}

std::optional<TimelineId> TimelineHistory::successor_of(TimelineId timeline) const {
  for (std::size_t i = 0; i < ancestors_.size(); ++i)
    if (ancestors_[i].timeline == timeline)
      return i + 1 < ancestors_.size() ? ancestors_[i + 1].timeline : timeline_;
  return std::nullopt;
}

}  // namespace weir::wal
