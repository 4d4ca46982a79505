#include "receive/spare.h"

#include <system_error>

#include "base/error.h"

namespace weir::receive {

void Spare::prepare() {
  const std::lock_guard lock(mutex_);
  if (stop_) return;
  wanted_ = true;
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error& error) {
      log_.debug("no spare segment is prepared: {}", error.what());
    }
  }
  changed_.notify_all();
}

void Spare::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Spare::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || wanted_; });
    if (stop_) return;
    wanted_ = false;
    lock.unlock();
    try {
      writer_.prepare_spare();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) durability_lost_(error);
      // Only speed is lost: the next segment is made when it is needed, and what stands in the way
      // is told then if it is still there.
      log_.debug("no spare segment could be prepared: {}", error.what());
    }
    lock.lock();
  }
}

}  // namespace weir::receive
