#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

#include "wal/lsn.h"

namespace weir::relay {

/// How long ago that WAL was sent of which a client says just now that it has come so far with it:
/// one of the lags of pg_stat_replication. Bounded, however far behind a client is. Pure.
class Lag {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Everything before `end` is sent by now.
  void on_sent(wal::Lsn end, Time now);
  /// The client has come to `position`. Who says so again when nothing is open has no lag.
  void on_reply(wal::Lsn position, Time now);

  [[nodiscard]] std::optional<std::chrono::microseconds> now() const { return lag_; }

 private:
  static constexpr std::size_t kMostOpen = 512;
  struct Sent {
    wal::Lsn end;
    Time time;
  };
  std::deque<Sent> open_;  ///< sent, and not reached; ascending
  std::optional<std::chrono::microseconds> lag_;
};

}  // namespace weir::relay
