#include "receive/spare.h"

#include <system_error>
#include <utility>

#include "base/error.h"

namespace weir::receive {

Spare::Spare(archive::SegmentWriter& writer, Threads& threads, Log& log,
             std::function<void(const Error&)> durability_lost)
    : writer_(writer),
      log_(log),
      durability_lost_(std::move(durability_lost)),
      threads_(threads),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()) {}

void Spare::prepare() {
  const Threads::Lock lock(*mutex_);
  if (stop_) return;
  wanted_ = true;
  if (!thread_) {
    try {
      thread_ = threads_.start("spare", [this] { work(); });
    } catch (const std::system_error& error) {
      log_.debug("no spare segment is prepared: {}", error.what());
    }
  }
  changed_->notify_all();
}

void Spare::stop() {
  {
    const Threads::Lock lock(*mutex_);
    stop_ = true;
    changed_->notify_all();
  }
  if (thread_) thread_->join();
  thread_ = nullptr;
}

void Spare::work() {
  Threads::Lock lock(*mutex_);
  for (;;) {
    changed_->wait(lock, [&] { return stop_ || wanted_; });
    if (stop_) return;
    wanted_ = false;
    lock.unlock();
    try {
      writer_.prepare_spare();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) durability_lost_(error);
      // Only speed is lost: the next segment's file is created when needed, and a remaining problem
      // is reported then.
      log_.debug("no spare segment could be prepared: {}", error.what());
    }
    lock.lock();
  }
}

}  // namespace weir::receive
