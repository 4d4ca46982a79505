#pragma once

#include <atomic>
#include <functional>

#include "base/error.h"
#include "receive/feed.h"

namespace weir::receive {

/// Publishes a receiver's problems to the feed, and ends the process if nothing may be acknowledged
/// any more. Any thread.
class Alarms {
 public:
  /// `durability_lost` ends the process and does not return. Both must outlive this object.
  Alarms(Feed& feed, const std::function<void(const Error&)>& durability_lost)
      : feed_(feed), end_process_(durability_lost) {}

  /// Published when it changes.
  void disk_full(bool full);
  void trouble(const Error& error);
  /// A sync failed (P6). Publishing the reason may take a moment; until the process ends nothing
  /// more is acknowledged.
  [[noreturn]] void durability_lost(const Error& error);
  [[nodiscard]] std::function<void(const Error&)> durability_lost_hook();
  /// True: nothing may be acknowledged any more.
  [[nodiscard]] const std::atomic<bool>& mute() const { return mute_; }

 private:
  Feed& feed_;
  const std::function<void(const Error&)>& end_process_;
  std::atomic<bool> mute_ = false;
  std::atomic<bool> disk_full_ = false;  ///< as published
};

}  // namespace weir::receive
