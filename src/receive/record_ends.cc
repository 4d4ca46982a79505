#include "receive/record_ends.h"

#include <algorithm>

namespace weir::receive {

void RecordEnds::add(wal::Lsn end) {
  if (!end.valid() || (!ends_.empty() && end <= ends_.back())) return;
  ends_.push_back(end);
  if (ends_.size() <= kMost) return;
  // Every second one of the older half: a server far behind needs them less exactly.
  std::vector<wal::Lsn> kept;
  for (std::size_t i = 0; i < ends_.size(); ++i)
    if (i >= kMost / 2 || i % 2 == 0) kept.push_back(ends_[i]);
  ends_ = std::move(kept);
}

void RecordEnds::cut(wal::Lsn end) {
  ends_.erase(std::upper_bound(ends_.begin(), ends_.end(), end), ends_.end());
}

std::optional<wal::Lsn> RecordEnds::last_up_to(wal::Lsn end) const {
  const auto behind = std::upper_bound(ends_.begin(), ends_.end(), end);
  if (behind == ends_.begin()) return std::nullopt;
  return *std::prev(behind);
}

}  // namespace weir::receive
