#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "pq/shutdown_probe.h"

namespace weir::receive {

/// Asks the server now and then whether it shuts down, as long as somebody wants to know. In a
/// thread of its own, which is there from the first wish on.
class ShutdownWatch {
 public:
  ShutdownWatch(pq::ShutdownProbe probe, Log& log);
  /// May have to wait for an answer of the server, up to five seconds.
  ~ShutdownWatch();
  ShutdownWatch(const ShutdownWatch&) = delete;
  ShutdownWatch& operator=(const ShutdownWatch&) = delete;

  /// Whether anybody wants to know; returns what is known, false at first. Any thread; never blocks
  /// for long.
  bool look(bool wanted);

 private:
  void work();

  const pq::ShutdownProbe probe_;
  Log& log_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false;
  bool shuts_down_ = false;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace weir::receive
