#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace weir {

/// Calls `work(i)` for each i below `count`, on up to `jobs` threads, one of which is the caller's.
/// Indexes are taken in ascending order. `work` returns false to have no further ones taken, and so
/// does one that throws. Returns when every call has returned: true if none returned false.
/// Rethrows the first exception. `work` is called by several threads at once.
template <typename Work>
bool for_each_index(std::size_t count, std::size_t jobs, const Work& work) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> ended = false;
  std::mutex mutex;
  std::exception_ptr failure;  // guarded by mutex
  const auto take = [&] {
    try {
      while (!ended) {
        const auto index = next++;
        if (index >= count) return;
        if (!work(index)) ended = true;
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      ended = true;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < std::min(jobs, count); ++i) threads.emplace_back(take);
    take();
  }
  if (failure) std::rethrow_exception(failure);
  return !ended;
}

}  // namespace weir
