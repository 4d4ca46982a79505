#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace weir::pq {

/// Closes a connection if its only reader is stuck while processing a message: the disk hangs, or
/// the output is not read. Otherwise the server process would block in a send and no longer react
/// to termination: pg_terminate_backend(), dropping a slot and a shutdown would wait for us (P13).
/// Uses a thread of its own while it watches.
class StuckReader {
 public:
  /// `let_go` is called once, by that thread, when a piece of work has not advanced for this long
  /// (or up to half as long again); it must be safe to call while the reader is stuck.
  StuckReader(std::chrono::milliseconds patience, std::function<void()> let_go);
  ~StuckReader();
  StuckReader(const StuckReader&) = delete;
  StuckReader& operator=(const StuckReader&) = delete;

  /// The reader starts, or ends, something that may hang; without effect if it has already. One
  /// thread.
  void enter() { become(true); }
  void leave() { become(false); }
  /// A part of what may hang is done. Without effect outside of it. The same thread.
  void advance() {
    const auto pieces = pieces_.load(std::memory_order_relaxed);
    if (pieces % 2 != 0) pieces_.store(pieces + 2, std::memory_order_relaxed);
  }

 private:
  void work();
  void become(bool within) {
    const auto pieces = pieces_.load(std::memory_order_relaxed);
    if ((pieces % 2 != 0) != within) pieces_.store(pieces + 1, std::memory_order_relaxed);
  }

  const std::chrono::milliseconds patience_;
  const std::function<void()> let_go_;
  std::atomic<std::uint64_t> pieces_ = 0;  ///< odd: within one
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace weir::pq
