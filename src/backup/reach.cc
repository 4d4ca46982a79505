#include "backup/reach.h"

#include <fmt/format.h>

#include <algorithm>

namespace weir::backup {

namespace {

using State = Reach::State;

Reach reach_on(const archive::BackupPoint& backup, const prune::Line& line) {
  const auto& stretches = line.stretches;
  const auto at = std::find_if(stretches.begin(), stretches.end(), [&](const auto& each) {
    return each.begin <= backup.start && backup.start < each.end;
  });
  if (at == stretches.end()) {
    if (backup.start >= stretches.back().end)
      return {State::waits, nullptr,
              fmt::format("the archive ends at {}, before the start of the backup at {}",
                          stretches.back().end, backup.start)};
    if (backup.start < stretches.front().begin)
      return {State::lost, nullptr,
              fmt::format("the archive begins at {}, after the start of the backup at {}",
                          stretches.front().begin, backup.start)};
    return {
        State::lost, nullptr,
        fmt::format("WAL is missing in the archive at the start of the backup, {}", backup.start)};
  }
  const auto end = backup.end.value_or(backup.start);
  if (end <= at->end) return {State::covered, &line, {}};
  if (const auto next = std::next(at); next != stretches.end())
    return {State::lost, nullptr,
            fmt::format("WAL from {} to {} is missing in the archive, and the backup needs it up "
                        "to {}",
                        at->end, next->begin, end)};
  return {State::waits, nullptr,
          fmt::format("the archive ends at {}, and the backup at {} on timeline {}", at->end, end,
                      backup.end_timeline)};
}

}  // namespace

Reach find_reach(const archive::BackupPoint& backup, const std::vector<prune::Line>& lines) {
  const auto timeline = backup.end ? backup.end_timeline : backup.timeline;
  Reach best{State::foreign, nullptr,
             fmt::format("the archive has no WAL of the backup's history (timeline {})", timeline)};
  bool newer = true;
  for (const auto& line : lines) {
    newer = newer && line.history.timeline() < timeline;
    if (line.stretches.empty() || !prune::lies_on(backup, line.history)) continue;
    // If two ways serve alike, the newest one is used.
    auto found = reach_on(backup, line);
    if (found.state <= best.state) best = std::move(found);
  }
  if (best.state == State::foreign && newer)
    return {State::waits, nullptr,
            fmt::format("the archive has no WAL of timeline {} yet", timeline)};
  return best;
}

}  // namespace weir::backup
