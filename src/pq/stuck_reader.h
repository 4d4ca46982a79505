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

/// Closes a connection whose only reader is stuck in its work on a message: the disk hangs, or
/// nobody takes the output. The server process would come to block in a send, and no longer notice
/// that it has to end: pg_terminate_backend(), a dropped slot and a shutdown would wait for our
/// trouble (P13). Has a thread of its own while it watches.
class StuckReader {
 public:
  /// `let_go` is called once, by that thread, when one piece of work has taken so long (or half as
  /// long again); it must be safe beside the reader that is stuck.
  StuckReader(std::chrono::milliseconds patience, std::function<void()> let_go);
  ~StuckReader();
  StuckReader(const StuckReader&) = delete;
  StuckReader& operator=(const StuckReader&) = delete;

  /// The reader begins, or ends, something that may hang.
  void enter() { pieces_.fetch_add(1, std::memory_order_relaxed); }
  void leave() { pieces_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void work();

  const std::chrono::milliseconds patience_;
  const std::function<void()> let_go_;
  std::atomic<std::uint64_t> pieces_ = 0;  ///< odd: within one
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace weir::pq
