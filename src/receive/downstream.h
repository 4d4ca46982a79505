#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

#include "receive/downstream_word.h"

namespace weir::receive {

/// Where the word of those downstream is left, for the stream that runs, or for the next one. Any
/// thread; never blocks.
class Downstream {
 public:
  void set(const DownstreamWord& word) {
    const std::lock_guard lock(mutex_);
    if (word_ == word) return;
    word_ = word;
    ++version_;
    if (listener_) listener_();
  }
  [[nodiscard]] DownstreamWord get() const {
    const std::lock_guard lock(mutex_);
    return word_;
  }
  /// Another one after each change: to be asked for before get().
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  /// Called when there is news, a lock is held; empty: nobody. When this returns, an earlier one is
  /// not called any more.
  void set_listener(std::function<void()> listener) {
    const std::lock_guard lock(mutex_);
    listener_ = std::move(listener);
  }

 private:
  mutable std::mutex mutex_;
  DownstreamWord word_;
  std::function<void()> listener_;
  std::atomic<std::uint64_t> version_ = 0;
};

}  // namespace weir::receive
