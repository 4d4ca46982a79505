#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "base/threads.h"
#include "store/object_store.h"
#include "store/pace.h"

namespace weir::store {

/// How long a request is retried if that may help.
struct Patience {
  std::chrono::milliseconds retry_for{60'000};
  std::uint64_t seed = 0;
  std::function<bool()> stop = nullptr;   ///< polled: true ends the retries
  Threads* threads = &machine_threads();  ///< whose clock counts
};
/// No retries.
inline const Patience kOnce{.retry_for = std::chrono::milliseconds(0)};

/// Returns the result of `request`. Throws what its last attempt throws. Waits in the calling
/// thread.
template <typename Request>
auto insist(const Patience& patience, Request request) -> decltype(request()) {
  auto& threads = *patience.threads;
  constexpr std::chrono::milliseconds kStopPolled{100};
  RetryPolicy retry(patience.seed);
  std::optional<Threads::Time> until;  // counted from the first failure: a transfer may take
                                       // longer
  for (;;) {
    try {
      return request();
    } catch (const StoreError& error) {
      const auto now = threads.now();
      if (!until) until = now + patience.retry_for;
      if (!may_pass(error.trouble()) || now >= *until) throw;
      const auto end = std::min(now + error.retry_after() + retry.next(), *until);
      const auto mutex = threads.make_mutex();
      const auto never = threads.make_condition();
      for (auto at = now; at < end; at = threads.now()) {
        if (patience.stop && patience.stop()) throw;
        Threads::Lock lock(*mutex);
        never->wait_until(lock, std::min<Threads::Time>(at + kStopPolled, end));
      }
    }
  }
}

}  // namespace weir::store
