#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "base/threads.h"

namespace weir {

/// Calls a function periodically, in a thread of its own, which the destructor ends: it waits for a
/// call in progress.
class PeriodicLook {
 public:
  /// Returns when to call it again; nullopt: never.
  using Look = std::function<std::optional<Threads::Time>()>;
  /// `name` is for the simulation; `first`: when to call it first. Throws std::system_error.
  PeriodicLook(Threads& threads, std::string_view name, Threads::Time first, Look look);
  ~PeriodicLook();
  PeriodicLook(const PeriodicLook&) = delete;
  PeriodicLook& operator=(const PeriodicLook&) = delete;

  /// Calls it at once, or again after the call in progress. Any thread; does not wait.
  void look_now();

 private:
  void work(Threads::Time next);

  Threads& threads_;
  const Look look_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  bool now_ = false;
  bool over_ = false;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir
