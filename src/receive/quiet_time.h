#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include "receive/flush_policy.h"
#include "wal/lsn.h"

namespace weir::receive {

/// Detects that no WAL arrives, to release memory. A quiet time starts when the position has not
/// changed for kQuiet, and ends when it changes. Its start is reported once. Pure; one caller at a
/// time.
class QuietTime {
 public:
  static constexpr std::chrono::seconds kQuiet{8};

  /// Returns true if it is quiet, and was not at the previous call. `position` is the stream's
  /// position. `now` never decreases.
  [[nodiscard]] bool begins(wal::Lsn position, Time now) {
    if (std::exchange(position_, position) != position || !since_) {
      since_ = now;
      said_ = false;
      return false;
    }
    return now >= *since_ + kQuiet && !std::exchange(said_, true);
  }

 private:
  wal::Lsn position_;          ///< at the last check
  std::optional<Time> since_;  ///< unchanged since then; nullopt: not yet checked
  bool said_ = false;          ///< the start of this quiet time was reported
};

}  // namespace weir::receive
