#include "receive/loss_watch.h"

#include <poll.h>

#include "base/error.h"

namespace weir::receive {

LossWatch::LossWatch(io::Shelf& directory, StatusBoard& board, Log& log,
                     std::chrono::milliseconds every)
    : directory_(directory), board_(board), log_(log), every_(every), thread_([this] { work(); }) {}

LossWatch::~LossWatch() {
  stop_.raise();
  thread_.join();
}

void LossWatch::work() {
  while (!stop_.raised()) {
    pollfd fd{stop_.fd(), POLLIN, 0};
    ::poll(&fd, 1, static_cast<int>(every_.count()));
    if (!stop_.raised()) look();
  }
}

void LossWatch::look() {
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
