#include "receive/stalled_upstream.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace weir::receive {

namespace {

/// Only of hosts that can be streamed from without a wait or a hole, as choose_host() does.
std::optional<HostWord> best_of(std::vector<HostWord> hosts, const ArchivedSoFar& ours,
                                Prefer prefer) {
  std::erase_if(hosts, [](const HostWord& host) {
    return host.failure || host.has_wal == false || host.has_slot == false;
  });
  if (hosts.empty()) return std::nullopt;
  mark_stalled(hosts, ours.position);
  const auto choice = choose_host({.hosts = hosts, .archive = ours, .wish = {}, .prefer = prefer});
  const auto* take = std::get_if<TakeHost>(&choice.decision);
  if (take == nullptr) return std::nullopt;
  return *std::find_if(hosts.begin(), hosts.end(),
                       [&](const HostWord& host) { return host.index == take->index; });
}

}  // namespace

void mark_stalled(std::vector<HostWord>& hosts, wal::Lsn position) {
  for (auto& host : hosts) host.stalled = !host.failure && host.identity.flush_position <= position;
}

std::optional<HostWord> StalledUpstream::on_asked(std::vector<HostWord> hosts,
                                                  const ArchivedSoFar& ours, Prefer prefer,
                                                  Time now) {
  const auto best = best_of(std::move(hosts), ours, prefer);
  const bool ahead = best && (!best->stalled || best->identity.timeline > ours.end.timeline);
  if (!ahead) {
    since_.reset();
    return std::nullopt;
  }
  if (!since_ || position_ != ours.position) {
    position_ = ours.position;
    since_ = now;
    return std::nullopt;
  }
  return now >= *since_ + confirm_ ? best : std::nullopt;
}

}  // namespace weir::receive
