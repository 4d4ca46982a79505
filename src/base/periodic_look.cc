#include "base/periodic_look.h"

#include <utility>

namespace weir {

PeriodicLook::PeriodicLook(Threads& threads, std::string_view name, Threads::Time first, Look look)
    : threads_(threads),
      look_(std::move(look)),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()),
      thread_(threads.start(name, [this, first] { work(first); })) {}

PeriodicLook::~PeriodicLook() {
  {
    const Threads::Lock lock(*mutex_);
    over_ = true;
    changed_->notify_all();
  }
  thread_->join();
}

void PeriodicLook::look_now() {
  const Threads::Lock lock(*mutex_);
  now_ = true;
  changed_->notify_all();
}

void PeriodicLook::work(Threads::Time next) {
  Threads::Lock lock(*mutex_);
  for (;;) {
    while (!over_ && !now_ && threads_.now() < next) changed_->wait_until(lock, next);
    if (over_) return;
    now_ = false;
    lock.unlock();
    const auto again = look_();
    lock.lock();
    if (!again) return;
    next = *again;
  }
}

}  // namespace weir
