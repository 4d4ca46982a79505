#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace weir::receive {

/// Tracks how long syncs take. If they are quick, the writing thread also syncs and continues:
/// waking another one to read meanwhile costs more than it gains. If they are slow, another thread
/// reads and syncs overlap, unless threads already wait for a CPU. Pure.
class SyncPacer {
 public:
  /// Whether to determine the delay of the next sync, which is the part of its duration that the
  /// thread waits for a CPU. That takes two system calls: not for each sync, and only if it may
  /// decide whether syncs overlap.
  [[nodiscard]] bool asks_delay() { return depends_on_delay() && ++asked_ % kAskEvery == 0; }
  void add(std::chrono::nanoseconds duration, std::optional<std::chrono::nanoseconds> delay) {
    if (depends_on_delay() && !delay) return;
    using Microseconds = std::chrono::duration<double, std::micro>;
    const auto wait = Microseconds(delay.value_or(std::chrono::nanoseconds(0))).count();
    const auto us = Microseconds(duration).count() - wait;
    average_us_ = average_us_ < 0 ? us : average_us_ + (us - average_us_) / 8;
    delay_us_ += (wait - delay_us_) / 16;
  }
  /// Whether more WAL had arrived by the end of a sync.
  void add_arrival(bool arrived) { arrivals_ += ((arrived ? 1 : 0) - arrivals_) / 8; }
  [[nodiscard]] bool quick() const {
    return average_us_ < kQuickUs || (average_us_ < kSlowUs && delay_us_ > average_us_ * kBusy);
  }
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
  [[nodiscard]] bool depends_on_delay() const {
    return average_us_ >= kQuickUs / 2 && arrivals_ >= kOften;
  }

  static constexpr double kQuickUs = 400;
  static constexpr double kSlowUs = 1'000;  ///< overlapping is worth it in any case
  static constexpr double kBusy = 0.3;      ///< delay per time of a sync
  static constexpr unsigned kAskEvery = 4;
  static constexpr double kOften = 0.25;
  static constexpr double kMostSpacingUs = 5'000;
  double average_us_ = -1;  ///< without the delay; unknown counts as quick
  double delay_us_ = 0;     ///< average
  unsigned asked_ = 0;
  double arrivals_ = 0;  ///< the share of syncs during which WAL arrived, newest first
};

}  // namespace weir::receive
