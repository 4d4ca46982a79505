#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace weir::receive {

/// Tracks how long syncs take. If they are quick, the writing thread also syncs and continues:
/// waking another one to read meanwhile costs more than it gains. If they are slow, another thread
/// reads and syncs overlap. Pure.
class SyncPacer {
 public:
  void add(std::chrono::nanoseconds duration) {
    const auto us = std::chrono::duration<double, std::micro>(duration).count();
    average_us_ = average_us_ < 0 ? us : average_us_ + (us - average_us_) / 8;
  }
  /// Whether more WAL had arrived by the end of a sync.
  void add_arrival(bool arrived) { arrivals_ += ((arrived ? 1 : 0) - arrivals_) / 8; }
  [[nodiscard]] bool quick() const { return average_us_ < kQuickUs; }
  /// Syncs are slow, and WAL arrives meanwhile. If every commit waits for the one before, even with
  /// a very slow disk another thread would be woken in vain.
  [[nodiscard]] bool worth_overlapping() const { return !quick() && arrivals_ >= kOften; }
  /// Time between the starts of two overlapping syncs, if at most `most` may run at a time. If each
  /// started at once, all would start within a moment, and later WAL would wait for nearly a whole
  /// sync before its own could start: evenly spread, nothing waits longer than this.
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
