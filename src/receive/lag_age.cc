#include "receive/lag_age.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace weir::receive {

namespace {

/// Points at which the server's end is remembered, so that a lag's age is known to about 1/64.
constexpr std::size_t kMostEnds = 64;

/// By the server's clock.
std::chrono::milliseconds since(std::int64_t clock, const StreamSnapshot& snapshot) {
  return std::chrono::milliseconds(
      std::max<std::int64_t>(0, (snapshot.server_clock - clock) / 1000));
}

}  // namespace

std::optional<std::chrono::milliseconds> LagAge::add(const StreamSnapshot& snapshot) {
  using std::chrono::milliseconds;
  if (ends_.empty() || snapshot.server_end > ends_.back().end)
    ends_.push_back({snapshot.server_end, snapshot.server_clock});
  // An end that was known before a stream's first message has no time: it is earlier than this one.
  for (auto& each : ends_)
    if (each.clock == 0) each.clock = snapshot.server_clock;
  // The newest end that is durable stays: it is where the missing part begins.
  while (ends_.size() > 1 && ends_[1].end <= snapshot.flush) ends_.pop_front();
  if (ends_.size() > kMostEnds) {
    // Keep every other one, and the last and the first two, which determine the age.
    std::deque<ServerEnd> kept;
    for (std::size_t i = 0; i < ends_.size(); ++i)
      if (i < 2 || i % 2 == 0 || i + 1 == ends_.size()) kept.push_back(ends_[i]);
    ends_ = std::move(kept);
  }
  if (snapshot.server_end <= snapshot.flush) return milliseconds(0);
  // Bytes that the server had before its first message may be of any age.
  if (ends_.front().end > snapshot.flush || ends_.size() < 2) return std::nullopt;
  return since(ends_[1].clock, snapshot);
}

std::optional<std::chrono::milliseconds> LagAge::at_least(const StreamSnapshot& snapshot) const {
  if (ends_.empty() || ends_.front().end <= snapshot.flush) return std::nullopt;
  return since(ends_.front().clock, snapshot);
}

}  // namespace weir::receive
