#include "receive/preferred_host.h"

#include <algorithm>
#include <variant>

namespace weir::receive {

namespace {

/// Each query connects to each of the other hosts.
constexpr std::chrono::milliseconds kSeldom{10'000};
constexpr std::chrono::milliseconds kOften{100};
/// During a failover.
constexpr std::chrono::milliseconds kForAPromotion{1'000};

}  // namespace

std::optional<int> PreferredHost::on_asked(const std::vector<HostWord>& hosts,
                                           const ArchivedSoFar& ours, Time now) {
  std::optional<int> there;
  for (const auto& host : hosts) {
    if (!fit(host, ours)) {
      since_.erase(host.index);
      continue;
    }
    const auto since = since_.try_emplace(host.index, now).first->second;
    const bool promoted =
        at_once_ && host.standby == false && host.identity.timeline > ours.end.timeline;
    if (!there && (promoted || now >= since + after_)) there = host.index;
  }
  return there;
}

/// After a move there must be neither a wait for the host, nor a hole, nor abandoned WAL.
bool PreferredHost::fit(const HostWord& host, const ArchivedSoFar& ours) const {
  if (host.failure || !has_role(host, prefer_) || host.has_wal == false || host.has_slot == false)
    return false;
  if (host.identity.system_identifier != ours.system_identifier ||
      host.identity.flush_position < ours.position || !leads_through(host, ours))
    return false;
  const auto decision = start_on(host, ours, {});
  return std::holds_alternative<StartAt>(decision);
}

std::chrono::milliseconds asks_every(std::chrono::milliseconds after, Prefer prefer,
                                     std::chrono::milliseconds streams_for) {
  const auto regular = std::clamp(after / 3, kOften, kSeldom);
  const bool failover = prefer == Prefer::primary && streams_for < kFailoverTakes;
  return failover ? std::min(regular, kForAPromotion) : regular;
}

}  // namespace weir::receive
