#include "receive/loss_watch.h"

#include "archive/own_names.h"
#include "base/error.h"

namespace weir::receive {

LossWatch::LossWatch(io::Shelf& directory, Threads& threads, StatusBoard& board, Log& log,
                     std::chrono::milliseconds every)
    : directory_(directory),
      board_(board),
      log_(log),
      look_(threads, "losses", threads.now() + every, [this, &threads, every] {
        look_at_records();
        read_acknowledgements();
        return threads.now() + every;
      }) {}

/// When a hole is filled, its record is removed as the last step.
void LossWatch::look_at_records() {
  const auto is_recorded = [&](const std::string& id) {
    return directory_.find(archive::loss_record_name(id)).has_value();
  };
  auto removed = removed_;
  try {
    // It may be the same hole again.
    std::erase_if(removed, is_recorded);
    for (const auto& loss : board_.read().losses)
      if (loss.recorded && !is_recorded(loss.id())) removed.insert(loss.id());
  } catch (const Error&) {
    return;  // what could not be read is unchanged
  }
  if (removed == removed_) return;
  for (const auto& id : removed)
    if (!removed_.contains(id))
      log_.info("the loss {} is closed: its WAL was archived, or the archive starts after it", id);
  removed_ = std::move(removed);
  board_.set_removed_losses(removed_);
}

void LossWatch::read_acknowledgements() {
  for (const auto& loss : board_.read().losses) {
    if (loss.acknowledged) continue;
    std::optional<archive::Loss::Acknowledgement> acknowledged;
    try {
      acknowledged = archive::read_acknowledgement(directory_, loss);
    } catch (const Error&) {
      continue;  // it counts as not acknowledged, and each start reports the reason
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
