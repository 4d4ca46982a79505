#pragma once

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// What an object store has of the WAL that streams (--confirm stored). A value.
struct StoreWord {
  /// Everything of this timeline before `stored`, and of the archive before the stream's start, is
  /// surely in the store; 0/0: nobody knows yet.
  wal::TimelineId timeline = 0;
  wal::Lsn stored;
  /// Commits of the server would wait for the store: so the server is told of no flush position.
  bool commits_would_wait = false;
  bool operator==(const StoreWord&) const = default;
};

}  // namespace weir::receive
