#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>

#include "store/object_store.h"
#include "store/pace.h"

namespace weir::store {

/// For how long one request is made again where that may help.
struct Patience {
  std::chrono::milliseconds retry_for{60'000};
  std::uint64_t seed = 0;
};
/// A request that fails is not made again.
inline constexpr Patience kOnce{.retry_for = std::chrono::milliseconds(0), .seed = 0};

/// What `request` gives. Throws what it throws, the last time. Waits in the thread that calls.
template <typename Request>
auto insist(const Patience& patience, Request request) -> decltype(request()) {
  using Clock = std::chrono::steady_clock;
  RetryPolicy retry(patience.seed);
  std::optional<Clock::time_point> until;  // from the first failure on: a transfer may take longer
  for (;;) {
    try {
      return request();
    } catch (const StoreError& error) {
      const auto now = Clock::now();
      if (!until) until = now + patience.retry_for;
      if (!may_pass(error.trouble()) || now >= *until) throw;
      std::this_thread::sleep_for(std::min<Clock::duration>(retry.next(), *until - now));
    }
  }
}

}  // namespace weir::store
