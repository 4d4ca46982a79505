#pragma once

#include <chrono>

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

 private:
  static constexpr double kQuickUs = 400;
  static constexpr double kOften = 0.25;
  double average_us_ = -1;  ///< unknown counts as quick
  double arrivals_ = 0;     ///< the share of syncs during which WAL arrived, newest first
};

}  // namespace weir::receive
