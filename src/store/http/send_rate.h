#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace weir::store {

/// A rate shared by all senders: a single sender gets all of it. One thread at a time. Pure.
class SendRate {
 public:
  using Time = std::chrono::steady_clock::time_point;
  explicit SendRate(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}

  /// Number of these bytes to send at once: few, so that all senders make progress.
  [[nodiscard]] std::size_t piece(std::size_t bytes) const {
    constexpr std::uint64_t kPiecesPerSecond = 16;
    return std::min<std::uint64_t>(bytes, std::max<std::uint64_t>(rate_ / kPiecesPerSecond, 1));
  }
  /// The time at which a piece may be sent.
  [[nodiscard]] Time take(std::size_t bytes, Time now) {
    const auto when = std::max(next_, now);
    next_ = when + std::chrono::nanoseconds(static_cast<std::int64_t>(
                       static_cast<double>(bytes) * 1e9 / static_cast<double>(rate_)));
    return when;
  }

 private:
  const std::uint64_t rate_;
  Time next_{};
};

}  // namespace weir::store
