#include "cli/runtime/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/units.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr auto kLiveInterval = 500ms;
constexpr auto kLogInterval = 60s;
/// Window of the rate on the live line: long enough to be readable, short enough to be current.
constexpr auto kLiveWindow = 5s;

std::string rate(double bytes_per_second) {
  // Whole bytes below 1 kB, one decimal digit above.
  return format_size(static_cast<std::uint64_t>(std::max(0.0, bytes_per_second))) + "/s";
}

std::string bar(double fraction, std::size_t width) {
  const auto full = static_cast<std::size_t>(fraction * static_cast<double>(width));
  return "[" + std::string(full, '#') + std::string(width - full, '.') + "]";
}

double seconds(receive::Time from, receive::Time to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

Progress ProgressMeter::add(const receive::StreamSnapshot& snapshot, receive::Time now) {
  // Another stream (reconnected, another timeline): what was measured of the last one does not
  // continue.
  if (last_ && (last_->timeline != snapshot.timeline || last_->start != snapshot.start ||
                snapshot.write < last_->write)) {
    samples_.clear();
    lag_age_.clear();
  }
  last_ = snapshot;
  samples_.push_back({now, snapshot.write, snapshot.server_end});
  // One sample older than the window is kept: the average covers all of it.
  while (samples_.size() > 2 && now - samples_[1].time >= window_) samples_.pop_front();

  Progress progress;
  progress.timeline = snapshot.timeline;
  progress.write = snapshot.write;
  if (snapshot.server_end > snapshot.flush) progress.behind = snapshot.server_end - snapshot.flush;
  const double elapsed = seconds(samples_.front().time, now);
  if (elapsed > 0)
    progress.bytes_per_second =
        static_cast<double>(snapshot.write - samples_.front().write) / elapsed;
  progress.behind_time = lag_age_.add(snapshot);
  progress.behind_at_least = lag_age_.at_least(snapshot);

  const std::uint64_t missing =
      snapshot.server_end > snapshot.write ? snapshot.server_end - snapshot.write : 0;
  if (missing >= receive::kCatchUpBytes) {
    const auto done = static_cast<double>(snapshot.write - snapshot.start);
    progress.fraction = done / (done + static_cast<double>(missing));
    if (!progress.bytes_per_second) return progress;
    // The server moves on, too: what counts is how fast the distance shrinks.
    const auto& first = samples_.front();
    const double server_rate =
        snapshot.server_end > first.server_end
            ? static_cast<double>(snapshot.server_end - first.server_end) / elapsed
            : 0;
    const double closing = *progress.bytes_per_second - server_rate;
    // A short period does not show that: the server's WAL may just not have arrived yet.
    progress.losing = closing <= 0 && now - samples_.front().time >= window_ / 2;
    constexpr double kLongest = 100.0 * 24 * 3600;
    if (closing > 0 && static_cast<double>(missing) / closing < kLongest)
      progress.left = milliseconds(std::llround(1000.0 * static_cast<double>(missing) / closing));
  }
  return progress;
}

std::string live_line(const Progress& progress, int width) {
  if (width <= 1) return {};
  // The last column is left empty: some terminals wrap when it is written.
  const auto room = static_cast<std::size_t>(width - 1);
  constexpr std::string_view kGap = "  ";

  struct Part {
    std::string text;
    int weight;  ///< the smallest is omitted first
  };
  std::vector<Part> parts;
  parts.push_back({progress.write.to_string(), 9});
  parts.push_back({fmt::format("timeline {}", progress.timeline), 1});
  if (progress.bytes_per_second) parts.push_back({rate(*progress.bytes_per_second), 5});
  if (progress.behind == 0) {
    parts.push_back({"caught up", 7});
  } else {
    parts.push_back({format_size(progress.behind) + " behind", 8});
    if (progress.behind_time && !progress.fraction)
      parts.push_back({format_duration(*progress.behind_time), 4});
  }
  if (progress.fraction) {
    parts.push_back({fmt::format("{:.0f}%", std::floor(*progress.fraction * 100)), 7});
    if (progress.left)
      parts.push_back({format_duration(*progress.left) + " left", 6});
    else if (progress.losing)
      parts.push_back({"not gaining", 6});
  }

  const auto joined = [&] {
    std::string line;
    for (const auto& part : parts) {
      if (!line.empty()) line += kGap;
      line += part.text;
    }
    return line;
  };
  auto line = joined();
  while (line.size() > room && parts.size() > 1) {
    parts.erase(std::min_element(parts.begin(), parts.end(),
                                 [](const Part& a, const Part& b) { return a.weight < b.weight; }));
    line = joined();
  }
  if (line.size() > room) line.resize(room);
  if (progress.fraction) {
    constexpr std::size_t kLeast = 8;
    constexpr std::size_t kMost = 30;
    const std::size_t taken = line.size() + kGap.size() + 2;
    if (taken + kLeast <= room)
      line += fmt::format("{}{}", kGap, bar(*progress.fraction, std::min(kMost, room - taken)));
  }
  return line;
}

std::string log_line(const Progress& progress, std::uint64_t bytes, milliseconds time) {
  const double per_second =
      time.count() > 0 ? static_cast<double>(bytes) * 1000.0 / static_cast<double>(time.count())
                       : 0;
  auto line =
      fmt::format("received {} in {} ({}), at {} on timeline {}", format_size(bytes),
                  format_duration(time), rate(per_second), progress.write, progress.timeline);
  if (progress.behind == 0) return line + ", caught up";
  line += fmt::format(", {} behind", format_size(progress.behind));
  if (progress.behind_time && !progress.fraction)
    line += fmt::format(" ({})", format_duration(*progress.behind_time));
  if (progress.left)
    line += fmt::format(", caught up in about {}", format_duration(*progress.left));
  else if (progress.losing)
    line += ", the server generates WAL faster";
  return line;
}

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
