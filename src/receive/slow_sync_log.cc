#include "receive/slow_sync_log.h"

#include <fmt/format.h>

#include <string>

#include "base/units.h"

namespace weir::receive {

namespace {

std::string text(std::chrono::nanoseconds time) {
  return format_duration(std::chrono::round<std::chrono::milliseconds>(time));
}

}  // namespace

SlowSyncLog::SlowSyncLog(Feed& feed, Log& log)
    : log_(log),
      subscription_(feed.listen([this](const event::SyncDone& sync) { add(sync.duration); })) {}

void SlowSyncLog::add(std::chrono::nanoseconds duration) {
  if (duration <= kSlowSync) return;
  const std::lock_guard lock(mutex_);
  const auto warning = slow_.add(duration, std::chrono::steady_clock::now());
  if (!warning) return;
  std::string earlier;
  if (warning->earlier > 0)
    earlier = fmt::format("; so did {} more in the last {}, the longest {}", warning->earlier,
                          text(warning->since), text(warning->worst));
  log_.warning(
      "a sync of the archive took {}: synchronous commits waited for it{}. Check what else uses "
      "the disk; \"pgweir status\" shows how long syncs take",
      text(warning->duration), earlier);
}

}  // namespace weir::receive
