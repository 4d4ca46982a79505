#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "base/error.h"
#include "base/log.h"

namespace weir::logical {

/// Differences between pgweir and pg_recvlogical on the same stream. Chosen once, when a session
/// starts. One thread.
class Habits {
 public:
  virtual ~Habits() = default;

  /// Asks the server about the slot, the publications and the positions before each stream. Else
  /// all of that is left to START_REPLICATION and its words.
  [[nodiscard]] virtual bool asks_first() const = 0;
  /// Says when it streams, and adds to what a server refuses what can be done about it.
  [[nodiscard]] virtual bool explains() const = 0;
  /// How long the output may accept nothing before the server is disconnected, whose process may
  /// block in a send meanwhile; zero: without a limit.
  [[nodiscard]] virtual std::chrono::milliseconds patience(
      std::chrono::milliseconds wal_sender_timeout) const = 0;

  /// Returns whether to retry after this error. `begun`: it has had its output before.
  [[nodiscard]] virtual bool waits_out(const Error& error, bool begun) const = 0;
  /// Reports the error before a retry; returns the delay.
  [[nodiscard]] virtual std::chrono::milliseconds pause_after(const Error& error, Log& log) = 0;
  /// More of the stream has arrived since the last failure: a later one is new.
  virtual void on_progress() = 0;
};

[[nodiscard]] std::unique_ptr<Habits> own_habits(std::uint64_t seed);
/// pg_recvlogical's.
[[nodiscard]] std::unique_ptr<Habits> stock_habits();

}  // namespace weir::logical
