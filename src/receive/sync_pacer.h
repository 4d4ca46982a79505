#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace weir::receive {

/// Remembers how long syncs take. Where they are quick, the thread that wrote also syncs and goes
/// on: waking another one to read meanwhile costs more than it gives. Where they are slow, reading
/// goes on in another thread and syncs overlap. Pure.
class SyncPacer {
 public:
  void add(std::chrono::nanoseconds duration) {
    const auto us = std::chrono::duration<double, std::micro>(duration).count();
    average_us_ = average_us_ < 0 ? us : average_us_ + (us - average_us_) / 8;
  }
  /// More WAL had arrived when a sync was done (or not).
  void add_arrival(bool arrived) { arrivals_ += ((arrived ? 1 : 0) - arrivals_) / 8; }
  [[nodiscard]] bool quick() const { return average_us_ < kQuickUs; }
  /// Syncs are slow, and there is something to be read meanwhile. Where every commit waits for the
  /// one before, the disk may be as slow as it likes: another thread would be woken for nothing.
  [[nodiscard]] bool worth_overlapping() const { return !quick() && arrivals_ >= kOften; }
  /// How long after the beginning of one sync the next should begin while others are under way, if
  /// `most` may be at a time. Were each begun at once, all would begin within a moment, and what
  /// comes after that would wait for nearly a whole sync before its own can begin: spread evenly,
  /// nothing waits for longer than this.
  [[nodiscard]] std::chrono::nanoseconds spacing(std::size_t most) const {
    if (quick()) return {};
    return std::chrono::nanoseconds(static_cast<std::int64_t>(
        std::min(average_us_ / static_cast<double>(most), kMostSpacingUs) * 1000));
  }

 private:
  static constexpr double kQuickUs = 400;
  static constexpr double kOften = 0.25;
  static constexpr double kMostSpacingUs = 5'000;
  double average_us_ = -1;  ///< unknown counts as quick
  double arrivals_ = 0;     ///< the share of syncs during which WAL arrived, newest first
};

}  // namespace weir::receive
