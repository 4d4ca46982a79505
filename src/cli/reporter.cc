#include "cli/reporter.h"

#include <utility>

#include "base/error.h"
#include "cli/metrics.h"
#include "io/place.h"
#include "net/wait.h"

namespace weir::cli {

Reporter::Reporter(const MetricsOptions& options, std::string archive,
                   const receive::StatusBoard& board, Log& log)
    : options_(options), archive_(std::move(archive)), board_(board), log_(log) {
  if (options_.listen) {
    server_.emplace(*options_.listen, [this] { return collect(true); });
    log_.info("metrics at http://{}/metrics", *options_.listen);
  }
  if (!options_.file) return;
  static_cast<void>(metrics::to_text({}));  // without the module it would fail for ever
  thread_ = std::thread([this] { work(); });
}

Reporter::~Reporter() {
  if (thread_.joinable()) {
    end_.raise();
    thread_.join();
    write(false);
  }
  server_.reset();
}

void Reporter::work() {
  while (!end_.raised()) {
    write(true);
    static_cast<void>(net::pause(end_, options_.interval));
  }
}

void Reporter::write(bool up) {
  try {
    metrics::write_file(*options_.file, collect(up));
    if (std::exchange(failed_, false)) log_.info("the metrics can be written again");
  } catch (const Error& error) {
    if (!std::exchange(failed_, true))
      log_.warning("the metrics cannot be written: {}; archiving is not affected, trying again. {}",
                   error.what(), error.hint());
  }
}

std::vector<metrics::Family> Reporter::collect(bool up) {
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
