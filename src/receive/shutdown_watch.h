#pragma once

#include <functional>
#include <memory>

#include "base/log.h"
#include "base/threads.h"

namespace weir::receive {

/// Asks the server now and then whether it shuts down, as long as somebody wants to know. In a
/// thread of its own, which is there from the first wish on.
class ShutdownWatch {
 public:
  /// `probe` asks once: Server::shutdown_probe().
  ShutdownWatch(std::function<bool()> probe, Threads& threads, Log& log);
  /// May have to wait for an answer of the server, up to five seconds.
  ~ShutdownWatch();
  ShutdownWatch(const ShutdownWatch&) = delete;
  ShutdownWatch& operator=(const ShutdownWatch&) = delete;

  /// Whether anybody wants to know; returns what is known, false at first. Any thread; never blocks
  /// for long.
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
