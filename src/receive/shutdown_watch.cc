// What a server waits for, according to its source (walsender.c, slot.c, xlog.c, postmaster.c of
// 13, 14, 15 and 18, which differ in names only). In a fast or smart shutdown, the checkpointer
// waits until each walsender is in the state STOPPING (`WalSndWaitStopping()`), on a standby also
// before its last restartpoint; a walsender with unsent data does not reach it (`WalSndLoop()`
// flushes first). Then the postmaster waits until each walsender has ended, which, once everything
// is sent, requires the receiver's flush position (`WalSndDone()`). An immediate shutdown kills
// remaining processes after five seconds. If a checkpoint or a standby's restartpoint invalidates a
// slot because of its WAL, its walsender gets one SIGTERM, as from `pg_terminate_backend()`, and
// its final message, a FATAL, is sent by a call that blocks; the checkpointer waits until it has
// ended. A recovery conflict ends no physical walsender, since it has no snapshot, lock or
// database; from 16 on it invalidates logical slots. A promotion waits for no walsender. All of
// this requires only that the client reads.

#include "receive/shutdown_watch.h"

#include <chrono>
#include <system_error>
#include <utility>

namespace weir::receive {

namespace {

/// A disk may be full for hours, and each check is a connection to the server.
constexpr std::chrono::seconds kAskEvery{10};

}  // namespace

ShutdownWatch::ShutdownWatch(std::function<bool()> probe, Threads& threads, Log& log)
    : probe_(std::move(probe)),
      threads_(threads),
      log_(log),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()) {}

ShutdownWatch::~ShutdownWatch() {
  {
    const Threads::Lock lock(*mutex_);
    over_ = true;
  }
  changed_->notify_all();
  if (thread_) thread_->join();
}

bool ShutdownWatch::shuts_down(bool wanted) {
  const Threads::Lock lock(*mutex_);
  if (std::exchange(wanted_, wanted) != wanted) {
    shuts_down_ = false;
    changed_->notify_all();
  }
  if (wanted && !thread_) {
    try {
      thread_ = threads_.start("shutdown", [this] { work(); });
    } catch (const std::system_error& error) {
      log_.debug("could not start a thread: {}", error.what());
    }
  }
  return shuts_down_;
}

void ShutdownWatch::work() {
  Threads::Lock lock(*mutex_);
  for (;;) {
    changed_->wait(lock, [this] { return over_ || wanted_; });
    if (over_) return;
    lock.unlock();
    const bool shuts_down = probe_();
    lock.lock();
    shuts_down_ = shuts_down && wanted_;
    const auto again = threads_.now() + kAskEvery;
    while (!over_ && wanted_ && threads_.now() < again) changed_->wait_until(lock, again);
  }
}

}  // namespace weir::receive
