#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>

#include "store/object_store.h"
#include "store/pace.h"

namespace weir::store {

/// How long a request is retried if that may help.
struct Patience {
  std::chrono::milliseconds retry_for{60'000};
  std::uint64_t seed = 0;
  std::function<bool()> stop = nullptr;  ///< polled: true ends the retries
};
/// No retries.
inline const Patience kOnce{.retry_for = std::chrono::milliseconds(0)};

/// Returns the result of `request`. Throws what its last attempt throws. Sleeps in the calling
/// thread.
template <typename Request>
auto insist(const Patience& patience, Request request) -> decltype(request()) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kStopPolled{100};
  RetryPolicy retry(patience.seed);
  std::optional<Clock::time_point> until;  // counted from the first failure: a transfer may take
                                           // longer
  for (;;) {
    try {
      return request();
    } catch (const StoreError& error) {
      const auto now = Clock::now();
      if (!until) until = now + patience.retry_for;
      if (!may_pass(error.trouble()) || now >= *until) throw;
      const auto end = std::min(now + retry.next(), *until);
      for (auto at = now; at < end; at = Clock::now()) {
        if (patience.stop && patience.stop()) throw;
        std::this_thread::sleep_for(std::min<Clock::duration>(kStopPolled, end - at));
      }
    }
  }
}

}  // namespace weir::store
