#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "receive/options.h"

namespace weir::receive {

/// Durations of the syncs of the last five minutes. A synchronous commit waits for one of them.
/// Durations are counted in classes, eight to a power of two, so that memory is bounded and a
/// percentile is at most an eighth too high, never too low. Pure; one caller at a time.
class SyncTimes {
 public:
  static constexpr std::chrono::seconds kWindow{300};

  struct Summary {
    std::uint64_t count = 0;
    std::chrono::nanoseconds p50{};
    std::chrono::nanoseconds p99{};
    std::chrono::nanoseconds worst{};  ///< exact
  };

  /// A sync succeeded; its duration. `now` never decreases.
  void add(std::chrono::nanoseconds duration, Time now);
  /// nullopt if there was none in the window.
  [[nodiscard]] std::optional<Summary> summary(Time now) const;

 private:
  static constexpr std::size_t kSlices = 10;
  static constexpr std::chrono::seconds kSlice = kWindow / kSlices;
  static constexpr std::size_t kClasses = 256;  // from half a microsecond to half an hour

  struct Slice {
    std::int64_t number = -1;  ///< of slices since the clock's epoch; -1: empty
    std::chrono::nanoseconds worst{};
    std::array<std::uint32_t, kClasses> counts{};
  };
  [[nodiscard]] static std::int64_t slice_of(Time time) { return time.time_since_epoch() / kSlice; }
  std::array<Slice, kSlices> slices_;
};

}  // namespace weir::receive
