#pragma once

#include <atomic>
#include <functional>

#include "base/error.h"
#include "receive/feed.h"

namespace weir::receive {

/// Tells the feed's listeners what is the matter with a receiver, and ends the process where
/// nothing may be acknowledged any more. Any thread.
class Alarms {
 public:
  /// `durability_lost` ends the process and does not return. Both outlive this object.
  Alarms(Feed& feed, const std::function<void(const Error&)>& durability_lost)
      : feed_(feed), end_process_(durability_lost) {}

  /// Published when it changes.
  void disk_full(bool full);
  void trouble(const Error& error);
  /// A sync failed (P6). Telling the reason may take a moment; until the end nothing more is
  /// acknowledged.
  [[noreturn]] void durability_lost(const Error& error);
  [[nodiscard]] std::function<void(const Error&)> durability_lost_hook();
  /// True: nothing may be acknowledged any more.
  [[nodiscard]] const std::atomic<bool>& mute() const { return mute_; }

 private:
  Feed& feed_;
  const std::function<void(const Error&)>& end_process_;
  std::atomic<bool> mute_ = false;
  std::atomic<bool> disk_full_ = false;  ///< as it was published
};

}  // namespace weir::receive
