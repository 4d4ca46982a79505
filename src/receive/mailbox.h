#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

#include "receive/downstream_word.h"
#include "receive/store_word.h"

namespace weir::receive {

/// Holds a sender's newest message, for the current stream or the next one. Any thread; never
/// blocks.
template <typename Word>
class Mailbox {
 public:
  void set(const Word& word) {
    change([&](Word& old) { old = word; });
  }
  /// `change` is called under a lock, and must be quick.
  template <typename Change>
  void change(Change change) {
    const std::lock_guard lock(mutex_);
    auto word = word_;
    change(word);
    if (word_ == word) return;
    word_ = std::move(word);
    ++version_;
    if (listener_) listener_();
  }
  [[nodiscard]] Word get() const {
    const std::lock_guard lock(mutex_);
    return word_;
  }
  /// Changes with each message: must be read before get().
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  /// Called for each message, under a lock; empty: none. On return an earlier listener is not
  /// called any more.
  void set_listener(std::function<void()> listener) {
    const std::lock_guard lock(mutex_);
    listener_ = std::move(listener);
  }

 private:
  mutable std::mutex mutex_;
  Word word_;
  std::function<void()> listener_;
  std::atomic<std::uint64_t> version_ = 0;
};

using Downstream = Mailbox<DownstreamWord>;  ///< what downstream clients report
using StoreWords = Mailbox<StoreWord>;       ///< the state of the object store

}  // namespace weir::receive
