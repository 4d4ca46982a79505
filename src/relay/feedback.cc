// Feedback from clients is one value (`relay::Feedback`, computed by the pure `gather_feedback()`
// whenever a client's reply changes it): the replay position of the named standbys, the oldest
// xmins still needed, the flush position of the candidates. The first two are left in
// `receive::Downstream`, whose listener wakes the guardian, since a leader may hang in the disk;
// `StreamState` limits the position to the local flush position. Each position has a timeline: a
// standby that is still on the old one counts up to the switchpoint, and feedback for a timeline
// other than the streaming one is ignored. `remote_apply` may therefore wait a moment longer at a
// switch, and never returns early. No xmins are sent before those that slots hold are known.

#include "relay/feedback.h"

#include <algorithm>
#include <vector>

namespace weir::relay {

namespace {

using Phase = WalsenderState::Phase;

/// 0/0 for positions that are not part of the history.
wal::Lsn place_in(const wal::TimelineHistory& served, wal::TimelineId timeline, wal::Lsn position) {
  if (!served.contains(timeline)) return {};
  const auto left = served.end_of(timeline);
  return left ? std::min(*left, position) : position;
}

/// As a streaming walsender counts as connected (SyncRepGetCandidateStandbys() in syncrep.c): once
/// it has caught up, and its client has reported a flush position.
bool counts(const WalsenderState::Status& status) {
  return status.phase == Phase::streaming && status.flush.valid();
}

}  // namespace

Feedback gather_feedback(const Waiting& waiting, std::span<const Member> members,
                         const std::optional<Xmins>& slots, const wal::TimelineHistory& served) {
  Feedback feedback;
  feedback.timeline = served.timeline();
  feedback.xmins = slots;
  std::vector<StandbyNames::Standby> sync;
  std::vector<StandbyNames::Standby> hold;
  for (const auto& [name, status] : members) {
    if (feedback.xmins) feedback.xmins = least(*feedback.xmins, status.xmins);
    const auto synced = waiting.sync ? waiting.sync->priority_of(name) : std::nullopt;
    if (synced && counts(status))
      sync.push_back({*synced, place_in(served, status.timeline, status.apply)});
    const auto held = waiting.hold ? waiting.hold->priority_of(name) : std::nullopt;
    // A flush position counts even if the client has not caught up.
    const bool streams = status.phase == Phase::catchup || status.phase == Phase::streaming;
    if (held && streams && status.flush.valid())
      hold.push_back({*held, place_in(served, status.timeline, status.flush)});
  }
  if (waiting.sync) feedback.applied = waiting.sync->reached(std::move(sync));
  if (waiting.hold) feedback.flushed = waiting.hold->reached(std::move(hold));
  return feedback;
}

}  // namespace weir::relay
