#include "cli/runtime/progress_line.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
constexpr auto kLiveInterval = 500ms;
constexpr auto kLogInterval = 60s;
/// Window of the rate on the live line: long enough to be readable, short enough to be current.
constexpr auto kLiveWindow = 5s;

}  // namespace

ProgressLine::ProgressLine(daemon::Screen& screen, Log& log)
    : screen_(screen), log_(log), meter_(screen.live() ? kLiveWindow : kLogInterval) {}

std::chrono::milliseconds ProgressLine::interval() const {
  return screen_.live() ? std::chrono::milliseconds(kLiveInterval)
                        : std::chrono::milliseconds(kLogInterval);
}

void ProgressLine::tick(const receive::StreamSnapshot& snapshot, receive::Time now) {
  const std::lock_guard lock(mutex_);
  if (now < due_) return;
  due_ = now + interval() * 9 / 10;  // a tick that is slightly early counts as well
  const auto progress = meter_.add(snapshot, now);
  if (screen_.live()) {
    screen_.show(live_line(progress, screen_.width()));
    return;
  }
  // A new stream starts at a segment's start: it is counted from there.
  const bool goes_on = shown_ && shown_->timeline == snapshot.timeline &&
                       shown_->start == snapshot.start && shown_->write <= snapshot.write;
  const auto since = goes_on ? shown_->write : snapshot.start;
  const auto time = shown_
                        ? std::chrono::duration_cast<std::chrono::milliseconds>(now - shown_time_)
                        : std::chrono::milliseconds(kLogInterval);
  if (snapshot.write > since) log_.info("{}", log_line(progress, snapshot.write - since, time));
  shown_ = snapshot;
  shown_time_ = now;
}

}  // namespace weir::cli
