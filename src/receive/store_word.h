#pragma once

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// The state of the object store for the current stream (--confirm stored). A value.
struct StoreWord {
  /// Everything of this timeline before `stored`, and of the archive before the stream's start, is
  /// known to be in the store; 0/0: not known yet.
  wal::TimelineId timeline = 0;
  wal::Lsn stored;
  /// Commits of the server would wait for the store: so no flush position is reported to it.
  bool commits_would_wait = false;
  bool operator==(const StoreWord&) const = default;
};

}  // namespace weir::receive
