#pragma once

#include <chrono>
#include <mutex>

#include "base/log.h"
#include "receive/feed.h"
#include "receive/slow_syncs.h"

namespace weir::receive {

/// Warns in the log of syncs that take longer than kSlowSync: SlowSyncs says when.
class SlowSyncLog {
 public:
  /// Both outlive it.
  SlowSyncLog(Feed& feed, Log& log);

 private:
  void add(std::chrono::nanoseconds duration);

  Log& log_;
  std::mutex mutex_;
  SlowSyncs slow_{kSlowSync};
  Feed::Subscription subscription_;  // the last: nothing is called before all is there
};

}  // namespace weir::receive
