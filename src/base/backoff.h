#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace weir {

/// Between attempts to reach a server. The limit is that of a standby (the default of
/// wal_retrieve_retry_interval): commits may wait for the archive.
constexpr std::chrono::milliseconds kFirstReconnect{200};
constexpr std::chrono::milliseconds kLongestReconnect{5'000};

/// Delays between attempts: doubling from `first` to `most`, each shortened by a random part of up
/// to a half, so that many receivers do not reconnect to a server at the same time. The seed is the
/// only source of randomness.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds most, std::uint64_t seed)
      : first_(first), most_(most), step_(first), random_(seed) {}

  [[nodiscard]] std::chrono::milliseconds next() {
    const auto full = step_.count();
    step_ = std::min(step_ * 2, most_);
    const auto shortened =
        full / 2 +
        static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(full - full / 2 + 1));
    return std::chrono::milliseconds(shortened);
  }
  void reset() { step_ = first_; }

 private:
  std::chrono::milliseconds first_;
  std::chrono::milliseconds most_;
  std::chrono::milliseconds step_;
  std::minstd_rand random_;  ///< seeded at no cost, and random enough
};

}  // namespace weir
