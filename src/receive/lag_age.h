#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "receive/stream_state.h"

namespace weir::receive {

/// Determines the age of the oldest WAL of the server that is not durable in the archive, by the
/// server's clock, from snapshots of the stream. Pure. One thread.
class LagAge {
 public:
  /// The age at this snapshot, to about 1/64 of it; 0 if everything is durable; nullopt for WAL
  /// that the server had before the first snapshot: its age is unknown.
  std::optional<std::chrono::milliseconds> add(const StreamSnapshot& snapshot);
  /// The age of that WAL, at the snapshot that was added last, is at least this.
  [[nodiscard]] std::optional<std::chrono::milliseconds> at_least(
      const StreamSnapshot& snapshot) const;
  /// Another stream begins.
  void clear() { ends_.clear(); }

 private:
  struct ServerEnd {
    wal::Lsn end;
    std::int64_t clock;  ///< microseconds, when the server first reported it
  };
  std::deque<ServerEnd> ends_;
};

}  // namespace weir::receive
