#include "relay/lag.h"

namespace weir::relay {

void Lag::on_sent(wal::Lsn end, Time now) {
  if (!open_.empty() && end <= open_.back().end) return;
  // Every second one is sufficient if there are many: a position between two has the lag of the
  // later one.
  if (open_.size() == kMostOpen) {
    std::deque<Sent> thinned;
    for (std::size_t i = 1; i < open_.size(); i += 2) thinned.push_back(open_[i]);
    open_ = std::move(thinned);
  }
  open_.push_back({end, now});
}

void Lag::on_reply(wal::Lsn position, Time now) {
  if (open_.empty()) {
    lag_.reset();
    return;
  }
  while (!open_.empty() && open_.front().end <= position) {
    lag_ = std::chrono::duration_cast<std::chrono::microseconds>(now - open_.front().time);
    open_.pop_front();
  }
}

}  // namespace weir::relay
