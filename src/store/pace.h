#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>  // check-includes: the seed is given

namespace weir::store {

/// How long to wait before the next attempt: any time up to a bound that doubles from 0.1 s to
/// 60 s ("full jitter"), so that many who were refused together do not come back together. Pure:
/// randomness comes from the seed.
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
  std::mt19937_64 random_;
};

/// How many requests may be under way at once: half of it when the store asks us to be slower, one
/// more again after so many that were done. Pure.
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
