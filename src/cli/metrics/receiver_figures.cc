#include "cli/metrics/receiver_figures.h"

#include "base/error.h"
#include "cli/metrics/receiver_metrics.h"
#include "io/place.h"

namespace weir::cli {

std::vector<metrics::Family> ReceiverFigures::collect(bool up) {
  const auto view = board_.view();
  ReceiverExtras extras;
  extras.archive = archive_;
  extras.up = up;
  if (view.stream) {
    const std::lock_guard lock(mutex_);
    const auto progress = meter_.add(*view.stream, std::chrono::steady_clock::now());
    extras.lag_time = progress.behind == 0 ? std::chrono::milliseconds(0) : progress.behind_time;
  }
  try {
    const auto place = io::inspect_place(archive_);
    extras.free_bytes = place.free_bytes;
    extras.size_bytes = place.bytes;
  } catch (const Error&) {
    // The directory was moved away: the receiver has it open and says so itself.
  }
  return receiver_metrics(view, extras, std::chrono::system_clock::now());
}

}  // namespace weir::cli
