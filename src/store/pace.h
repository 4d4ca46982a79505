#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>  // check-includes: the seed is given

namespace weir::store {

/// Delay before the next attempt: random, up to a bound that doubles from 0.1 s to 60 s ("full
/// jitter"), so that clients rejected together do not retry together. Pure: randomness comes from
/// the seed.
class RetryPolicy {
 public:
  static constexpr std::chrono::milliseconds kFirst{100};
  static constexpr std::chrono::milliseconds kMost{60'000};

  explicit RetryPolicy(std::uint64_t seed) : random_(seed) {}

  [[nodiscard]] std::chrono::milliseconds next() {
    const auto bound = static_cast<std::uint64_t>(bound_.count());
    bound_ = std::min(bound_ * 2, kMost);
    return std::chrono::milliseconds(random_() % (bound + 1));
  }
  void reset() { bound_ = kFirst; }

 private:
  std::chrono::milliseconds bound_ = kFirst;
  std::minstd_rand random_;  ///< seeded at no cost, and random enough
};

/// Number of concurrent requests: halved when the store asks for fewer requests, one more after
/// kDoneForOneMore successes. Pure.
class RequestWindow {
 public:
  static constexpr std::size_t kDoneForOneMore = 16;

  explicit RequestWindow(std::size_t most) : most_(most), size_(most) {}

  [[nodiscard]] std::size_t size() const { return size_; }
  void on_done() {
    if (++done_ < kDoneForOneMore) return;
    done_ = 0;
    size_ = std::min(size_ + 1, most_);
  }
  void on_throttled() {
    done_ = 0;
    size_ = std::max<std::size_t>(size_ / 2, 1);
  }

 private:
  std::size_t most_;
  std::size_t size_;
  std::size_t done_ = 0;
};

}  // namespace weir::store
