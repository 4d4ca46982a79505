#pragma once

#include <functional>
#include <memory>

#include "base/log.h"
#include "base/threads.h"

namespace weir::receive {

/// Checks periodically, while requested, whether the server is shutting down. In a thread of its
/// own, started by the first request.
class ShutdownWatch {
 public:
  /// `probe` checks once: Server::shutdown_probe().
  ShutdownWatch(std::function<bool()> probe, Threads& threads, Log& log);
  /// May wait up to five seconds for a response of the server.
  ~ShutdownWatch();
  ShutdownWatch(const ShutdownWatch&) = delete;
  ShutdownWatch& operator=(const ShutdownWatch&) = delete;

  /// `wanted`: whether checks are requested; returns the last result, false at first. Any thread;
  /// never blocks for long.
  bool shuts_down(bool wanted);

 private:
  void work();

  const std::function<bool()> probe_;
  Threads& threads_;
  Log& log_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  bool wanted_ = false;
  bool shuts_down_ = false;
  bool over_ = false;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
