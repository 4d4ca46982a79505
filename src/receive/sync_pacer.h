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
  [[nodiscard]] bool quick() const { return average_us_ < kQuickUs; }

 private:
  static constexpr double kQuickUs = 400;
  double average_us_ = -1;  ///< unknown counts as quick
};

}  // namespace weir::receive
