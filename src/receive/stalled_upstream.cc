#include "receive/stalled_upstream.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace weir::receive {

namespace {

/// The server lacks nothing that its primary has, or it is not known which primary counts.
bool is_idle(const std::vector<HostWord>& hosts, const ArchivedSoFar& ours) {
  const auto is_primary = [](const HostWord& host) { return host.standby == false; };
  const auto primary = std::find_if(hosts.begin(), hosts.end(), is_primary);
  if (primary == hosts.end()) return false;
  if (std::any_of(std::next(primary), hosts.end(), is_primary)) return true;
  return primary->identity.timeline <= ours.end.timeline &&
         primary->identity.flush_position <= ours.position;
}

std::string obstacle_of(const HostWord& host) {
  if (host.has_wal == false) return "it no longer has the WAL that comes next";
  if (host.has_slot == false) return "it does not have the slot";
  return {};
}

/// As choose_host() does, and only a host that can be streamed from without a wait or a hole.
std::optional<StalledUpstream::Ahead> best_of(std::vector<HostWord> hosts,
                                              const ArchivedSoFar& ours, Prefer prefer) {
  std::erase_if(hosts, [&](const HostWord& host) {
    return host.failure || host.identity.system_identifier != ours.system_identifier;
  });
  if (is_idle(hosts, ours)) return std::nullopt;
  mark_stalled(hosts, ours.position);
  auto usable = hosts;
  std::erase_if(usable, [](const HostWord& host) { return !obstacle_of(host).empty(); });
  if (!usable.empty()) {
    const auto choice =
        choose_host({.hosts = usable, .archive = ours, .wish = {}, .prefer = prefer});
    if (const auto* take = std::get_if<TakeHost>(&choice.decision))
      for (auto& host : usable)
        if (host.index == take->index &&
            (!host.stalled || host.identity.timeline > ours.end.timeline))
          return StalledUpstream::Ahead{std::move(host)};
  }
  for (auto& host : hosts)
    if (const auto obstacle = obstacle_of(host); !obstacle.empty() &&
                                                 host.identity.flush_position > ours.position &&
                                                 leads_through(host, ours))
      return StalledUpstream::Ahead{std::move(host), obstacle};
  return std::nullopt;
}

}  // namespace

void mark_stalled(std::vector<HostWord>& hosts, wal::Lsn position) {
  for (auto& host : hosts)
    host.stalled =
        !host.failure && host.standby != false && host.identity.flush_position <= position;
}

std::optional<StalledUpstream::Ahead> StalledUpstream::on_asked(std::vector<HostWord> hosts,
                                                                const ArchivedSoFar& ours,
                                                                Prefer prefer, Time now) {
  auto ahead = best_of(std::move(hosts), ours, prefer);
  if (!ahead) {
    since_.reset();
    return std::nullopt;
  }
  if (!since_ || position_ != ours.position) {
    position_ = ours.position;
    since_ = now;
    return std::nullopt;
  }
  if (now < *since_ + confirm_) return std::nullopt;
  return ahead;
}

}  // namespace weir::receive
