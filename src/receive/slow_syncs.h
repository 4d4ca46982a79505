#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

#include "receive/options.h"

namespace weir::receive {

/// A sync of WAL that takes longer is slow, on any disk. Synchronous commits wait for it.
inline constexpr std::chrono::seconds kSlowSync{1};

/// Decides when to log a slow sync: the first one at once; later ones are counted and reported
/// together, at least ten minutes later. Pure; one caller at a time.
class SlowSyncs {
 public:
  static constexpr std::chrono::minutes kQuiet{10};

  /// Syncs longer than `bound` are slow.
  explicit SlowSyncs(std::chrono::nanoseconds bound) : bound_(bound) {}

  struct Warning {
    std::chrono::nanoseconds duration{};  ///< of the sync that has just ended
    std::uint64_t earlier = 0;            ///< slow ones since the last warning, without this one
    std::chrono::nanoseconds worst{};     ///< of those and this one
    std::chrono::nanoseconds since{};     ///< the last warning; zero if there was none
  };
  /// A sync succeeded; its duration.
  [[nodiscard]] std::optional<Warning> add(std::chrono::nanoseconds duration, Time now) {
    if (duration <= bound_) return std::nullopt;
    worst_ = std::max(worst_, duration);
    if (warned_at_ && now - *warned_at_ < kQuiet) {
      ++untold_;
      return std::nullopt;
    }
    const Warning warning{.duration = duration,
                          .earlier = untold_,
                          .worst = worst_,
                          .since = warned_at_ ? now - *warned_at_ : std::chrono::nanoseconds(0)};
    warned_at_ = now;
    untold_ = 0;
    worst_ = {};
    return warning;
  }

 private:
  const std::chrono::nanoseconds bound_;
  std::uint64_t untold_ = 0;
  std::chrono::nanoseconds worst_{};
  std::optional<Time> warned_at_;
};

}  // namespace weir::receive
