#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include "receive/flush_policy.h"
#include "wal/lsn.h"

namespace weir::receive {

/// Notices that no WAL comes: then memory is given back. A quiet time begins when the position has
/// stood still for kQuiet, and ends when the position moves. Its begin is said once. Pure; one
/// caller at a time.
class QuietTime {
 public:
  static constexpr std::chrono::seconds kQuiet{8};

  enum class Phase {
    none,    ///< WAL has come lately
    begins,  ///< it is quiet, and was not at the look before
    lasts,
  };
  /// `position` is where the stream stands. `now` never goes back.
  [[nodiscard]] Phase look(wal::Lsn position, Time now) {
    if (std::exchange(position_, position) != position || !since_) {
      since_ = now;
      said_ = false;
      return Phase::none;
    }
    if (now < *since_ + kQuiet) return Phase::none;
    return std::exchange(said_, true) ? Phase::lasts : Phase::begins;
  }

 private:
  wal::Lsn position_;          ///< at the last look
  std::optional<Time> since_;  ///< it has been there; nullopt: there was no look yet
  bool said_ = false;          ///< that this quiet time has begun
};

}  // namespace weir::receive
