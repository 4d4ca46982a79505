#pragma once

#include <chrono>
#include <mutex>

#include "base/log.h"
#include "receive/feed.h"
#include "receive/slow_syncs.h"

namespace weir::receive {

/// Logs warnings about syncs that take longer than kSlowSync, as decided by SlowSyncs.
class SlowSyncLog {
 public:
  /// Both must outlive it.
  SlowSyncLog(Feed& feed, Log& log);

 private:
  void add(std::chrono::nanoseconds duration);

  Log& log_;
  std::mutex mutex_;
  SlowSyncs slow_{kSlowSync};
  Feed::Subscription subscription_;  // the last member: called only when all others exist
};

}  // namespace weir::receive
