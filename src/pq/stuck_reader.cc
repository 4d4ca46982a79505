#include "pq/stuck_reader.h"

#include <utility>

namespace weir::pq {

StuckReader::StuckReader(std::chrono::milliseconds patience, std::function<void()> let_go)
    : patience_(patience), let_go_(std::move(let_go)), thread_([this] { work(); }) {}

StuckReader::~StuckReader() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

/// Polls instead of being notified of each piece of work: there may be a million per second.
void StuckReader::work() {
  constexpr int kLooks = 2;
  std::uint64_t seen = 0;
  int stuck = 0;
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, patience_ / kLooks, [this] { return over_; })) {
    const auto pieces = pieces_.load(std::memory_order_relaxed);
    stuck = pieces % 2 == 1 && pieces == std::exchange(seen, pieces) ? stuck + 1 : 0;
    if (stuck < kLooks) continue;
    let_go_();
    return;
  }
}

}  // namespace weir::pq
