#include "receive/preferred_moves.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace weir::receive {

namespace {

constexpr int kMostDoublings = 7;  // 30 s become an hour
/// Time without WAL before other hosts are queried; in between, that of --prefer-after.
constexpr std::chrono::milliseconds kLeastStall{1'000};
constexpr std::chrono::milliseconds kMostStall{30'000};
/// A host that stalls again and again is moved to less and less often.
constexpr std::chrono::hours kRecent{1};

auto now_durable(ArchivedSoFar begun, std::function<wal::Lsn()> durable) {
  return [ours = std::move(begun), durable = std::move(durable)]() mutable {
    ours.position = durable();
    ours.end.start = ours.segment_size.start_of(ours.position);
    return ours;
  };
}

}  // namespace

std::optional<bool> PreferredMoves::role_of(Server& server) const {
  if (hosts_.names.size() < 2) return std::nullopt;
  return server.ask_for_role();
}

std::unique_ptr<PreferWatch> PreferredMoves::watch(Stream stream) {
  const auto prefer = world_.options.prefer;
  if (prefer == Prefer::any || !stream.standby || *stream.standby == (prefer == Prefer::standby)) {
    moved_ = false;
    vain_moves_ = 0;
    return nullptr;
  }
  if (std::exchange(moved_, false)) vain_moves_ = std::min(vain_moves_ + 1, kMostDoublings);
  const int vain = std::max(vain_moves_, left_recently() ? std::min(leaves_, kMostDoublings) : 0);
  return std::make_unique<PreferWatch>(
      PreferWatch::Task{
          .world = world_,
          .hosts = all_but(stream.host),
          .prefer = prefer,
          .after = world_.options.prefer_after * (1 << vain),
          .at_once_if_promoted = vain_moves_ == 0,
          .ours = now_durable(std::move(stream.ours), std::move(stream.durable)),
          .found =
              [this, prefer, leave = std::move(stream.leave)](const std::string& host) {
                log_.info("moving to {}, which has the role that is preferred (--prefer {})", host,
                          prefer == Prefer::standby ? "standby" : "primary");
                moved_ = true;
                leave();
              }},
      log_);
}

std::vector<std::pair<int, std::string>> PreferredMoves::all_but(std::size_t host) const {
  std::vector<std::pair<int, std::string>> others;
  for (std::size_t i = 0; i < hosts_.names.size(); ++i)
    if (i != host) others.emplace_back(static_cast<int>(i), hosts_.names[i]);
  return others;
}

std::unique_ptr<SuccessorWatch> PreferredMoves::watch_for_successor(Silent stream) {
  if (hosts_.names.size() < 2) return nullptr;
  return std::make_unique<SuccessorWatch>(
      SuccessorWatch::Task{.world = world_,
                           .hosts = all_but(stream.host),
                           .ours = now_durable(std::move(stream.ours), std::move(stream.durable)),
                           .silent_for = std::move(stream.silent_for),
                           .found =
                               [abandon = std::move(stream.abandon)](const HostWord& host) {
                                 abandon(Error(ErrorKind::retry,
                                               "the server does not respond, and another host is "
                                               "the primary on a newer timeline")
                                             .with("host", host.name)
                                             .with("timeline", host.identity.timeline));
                               }},
      log_);
}

std::unique_ptr<StallWatch> PreferredMoves::watch_for_stall(Idle stream) {
  if (last_leave_ && !std::exchange(last_leave_->settled, true))
    vain_leaves_ = last_leave_->host == stream.host ? vain_leaves_ + 1 : 0;
  if (!left_recently()) vain_leaves_ = 0;
  if (hosts_.names.size() < 2 || stream.standby == false) return nullptr;
  const auto after = std::clamp(world_.options.prefer_after, kLeastStall, kMostStall) *
                     (1 << std::min(vain_leaves_, kMostDoublings));
  return std::make_unique<StallWatch>(
      StallWatch::Task{
          .world = world_,
          .hosts = all_but(stream.host),
          .after = after,
          .ours = now_durable(stream.ours, stream.durable),
          .idle_for = stream.idle_for,
          .found = [this, after, stream](
                       const HostWord& host,
                       wal::Lsn ours) { return on_stalled(stream, after, host, ours); },
          .blocked =
              [this, name = hosts_.names[stream.host]](const StalledUpstream::Ahead& ahead,
                                                       wal::Lsn ours) {
                log_.warning(
                    "{} sends no WAL after {}, and {} has WAL up to {}, but cannot be used: {}",
                    name, ours, ahead.host.name, ahead.host.identity.flush_position,
                    ahead.obstacle);
              }},
      log_);
}

bool PreferredMoves::on_stalled(const Idle& stream, std::chrono::milliseconds after,
                                const HostWord& host, wal::Lsn ours) {
  if (!stream.abandon(after,
                      Error(ErrorKind::retry, "the server has stalled: another host has more WAL")
                          .with("archive ends at", ours)
                          .with("host", host.name)
                          .with("its WAL ends at", host.identity.flush_position)))
    return false;
  leaves_ = left_recently() ? leaves_ + 1 : 1;
  last_leave_ = {.host = stream.host, .position = ours, .time = world_.machine.now()};
  return true;
}

bool PreferredMoves::left_recently() const {
  return last_leave_ && world_.machine.now() < last_leave_->time + kRecent;
}

void PreferredMoves::mark(std::vector<HostWord>& hosts) const {
  if (last_leave_) mark_stalled(hosts, last_leave_->position);
}

}  // namespace weir::receive
