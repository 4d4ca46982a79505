#include "receive/preferred_moves.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace weir::receive {

namespace {

constexpr int kMostDoublings = 7;  // 30 s become an hour

}  // namespace

std::optional<bool> PreferredMoves::role_of(Server& server) const {
  if (world_.options.prefer == Prefer::any || hosts_.names.size() < 2) return std::nullopt;
  return server.ask_for_role();
}

std::unique_ptr<PreferWatch> PreferredMoves::watch(Stream stream) {
  const auto prefer = world_.options.prefer;
  if (!stream.standby || *stream.standby == (prefer == Prefer::standby)) {
    moved_ = false;
    vain_moves_ = 0;
    return nullptr;
  }
  if (std::exchange(moved_, false)) vain_moves_ = std::min(vain_moves_ + 1, kMostDoublings);
  std::vector<std::pair<int, std::string>> others;
  for (std::size_t i = 0; i < hosts_.names.size(); ++i)
    if (i != stream.host) others.emplace_back(static_cast<int>(i), hosts_.names[i]);
  return std::make_unique<PreferWatch>(
      PreferWatch::Task{
          .world = world_,
          .hosts = std::move(others),
          .prefer = prefer,
          .after = world_.options.prefer_after * (1 << vain_moves_),
          .ours =
              [ours = std::move(stream.ours), durable = std::move(stream.durable)]() mutable {
                ours.position = durable();
                ours.end.start = ours.segment_size.start_of(ours.position);
                return ours;
              },
          .found =
              [this, prefer, leave = std::move(stream.leave)](const std::string& host) {
                log_.info("moving to {}, which has the role that is preferred (--prefer {})", host,
                          prefer == Prefer::standby ? "standby" : "primary");
                moved_ = true;
                leave();
              }},
      log_);
}

}  // namespace weir::receive
