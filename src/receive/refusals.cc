#include "receive/refusals.h"

#include <utility>

namespace weir::receive {

bool Refusals::add(int host, int count, const Error& error) {
  hosts_.insert(host);
  const bool wal = error.kind() == ErrorKind::gap || error.kind() == ErrorKind::conflict ||
                   error.kind() == ErrorKind::damage;
  if (wal) for_wal_.insert(host);
  if (error.kind() == ErrorKind::gap) for_gap_.insert(host);
  if (error.kind() == ErrorKind::damage) damage_ = error;
  if (static_cast<int>(hosts_.size()) >= count) return false;
  if (wal) why_ = error;
  return true;
}

void Refusals::forget_hosts() {
  hosts_.clear();
  for_wal_.clear();
  for_gap_.clear();
  damage_.reset();
}

bool Refusals::forget_settings() { return std::exchange(hosts_, for_wal_) != for_wal_; }

void Refusals::clear() {
  forget_hosts();
  why_.reset();
  waited_ = {};
  unsettled_since_.clear();
}

void Refusals::on_verdicts(const std::vector<HostVerdict>& verdicts, Time now) {
  for (const auto& verdict : verdicts) {
    if (verdict.settled())
      unsettled_since_.erase(verdict.index);
    else
      unsettled_since_.try_emplace(verdict.index, now);
  }
}

std::set<int> Refusals::given_up(std::chrono::milliseconds patience, Time now) const {
  std::set<int> hosts;
  for (const auto& [host, since] : unsettled_since_)
    if (now - since >= patience) hosts.insert(host);
  return hosts;
}

}  // namespace weir::receive
