#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

#include "wal/lsn.h"

namespace weir::relay {

/// Time since the WAL was sent that a client's current reply confirms: one of the lags of
/// pg_stat_replication. Bounded, regardless of the client's distance. Pure.
class Lag {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Everything before `end` is sent by now.
  void on_sent(wal::Lsn end, Time now);
  /// The client has reached `position`. A client that repeats it while nothing is open has no lag.
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
