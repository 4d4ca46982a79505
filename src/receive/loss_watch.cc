#include "receive/loss_watch.h"

#include "base/error.h"

namespace weir::receive {

LossWatch::LossWatch(io::Shelf& directory, Threads& threads, StatusBoard& board, Log& log,
                     std::chrono::milliseconds every)
    : directory_(directory),
      board_(board),
      log_(log),
      every_(every),
      threads_(threads),
      mutex_(threads.make_mutex()),
      stopped_(threads.make_condition()),
      thread_(threads.start("losses", [this] { work(); })) {}

LossWatch::~LossWatch() {
  {
    const Threads::Lock lock(*mutex_);
    stop_ = true;
    stopped_->notify_all();
  }
  thread_->join();
}

void LossWatch::work() {
  Threads::Lock lock(*mutex_);
  for (;;) {
    const auto next = threads_.now() + every_;
    while (!stop_ && threads_.now() < next) stopped_->wait_until(lock, next);
    if (stop_) return;
    lock.unlock();
    read_acknowledgements();
    lock.lock();
  }
}

void LossWatch::read_acknowledgements() {
  for (const auto& loss : board_.read().losses) {
    if (loss.acknowledged) continue;
    std::optional<archive::Loss::Acknowledgement> acknowledged;
    try {
      acknowledged = archive::read_acknowledgement(directory_, loss);
    } catch (const Error&) {
      continue;  // it counts as not acknowledged, and each start tells why
    }
    if (!acknowledged) continue;
    log_.info("the loss {} was acknowledged by {}: {}", loss.id(), acknowledged->who,
              acknowledged->reason);
    board_.update([&](auto& content) {
      for (auto& one : content.losses)
        if (one.id() == loss.id() && one.end == loss.end) one.acknowledged = acknowledged;
    });
  }
}

}  // namespace weir::receive
