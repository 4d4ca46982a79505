#include "receive/shutdown_watch.h"

#include <chrono>
#include <system_error>
#include <utility>

namespace weir::receive {

namespace {

/// A disk may be full for hours, and each look is a connection to the server.
constexpr std::chrono::seconds kLookEvery{10};

}  // namespace

ShutdownWatch::ShutdownWatch(pq::ShutdownProbe probe, Log& log)
    : probe_(std::move(probe)), log_(log) {}

ShutdownWatch::~ShutdownWatch() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool ShutdownWatch::look(bool wanted) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(wanted_, wanted) != wanted) {
    shuts_down_ = false;
    changed_.notify_all();
  }
  if (wanted && !thread_.joinable()) {
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error& error) {
      log_.debug("could not start a thread: {}", error.what());
    }
  }
  return shuts_down_;
}

void ShutdownWatch::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return over_ || wanted_; });
    if (over_) return;
    lock.unlock();
    const bool shuts_down = probe_.server_shuts_down();
    lock.lock();
    shuts_down_ = shuts_down && wanted_;
    changed_.wait_for(lock, kLookEvery, [this] { return over_ || !wanted_; });
  }
}

}  // namespace weir::receive
