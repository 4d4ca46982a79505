#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "base/log.h"
#include "daemon/screen.h"
#include "receive/lag_age.h"
#include "receive/stream_state.h"
#include "wal/lsn.h"

namespace weir::cli {

/// The state of a running stream, for the live line and the log line of each minute.
struct Progress {
  wal::TimelineId timeline = 0;
  wal::Lsn write;
  std::optional<double> bytes_per_second;  ///< unset: not known yet
  std::uint64_t behind = 0;                ///< bytes the server has and that are not durable here
  /// Age of the oldest of them, by the server's clock; unset if they existed before the start.
  std::optional<std::chrono::milliseconds> behind_time;
  /// Then its age is at least this.
  std::optional<std::chrono::milliseconds> behind_at_least;
  std::optional<double> fraction;  ///< of the distance to the server's end; only while catching up
  std::optional<std::chrono::milliseconds> left;  ///< until caught up; unset: unknown
  /// While catching up, over half the window or more: the server writes faster than we receive.
  bool losing = false;
};

/// Computes the Progress from snapshots: rates over the last seconds, the age of the missing WAL.
/// Pure: the time is passed in. One thread.
class ProgressMeter {
 public:
  /// `window`: rates are averages over about so long.
  explicit ProgressMeter(std::chrono::milliseconds window) : window_(window) {}

  Progress add(const receive::StreamSnapshot& snapshot, receive::Time now);

 private:
  struct Sample {
    receive::Time time;
    wal::Lsn write;
    wal::Lsn server_end;
  };

  const std::chrono::milliseconds window_;
  std::optional<receive::StreamSnapshot> last_;
  std::deque<Sample> samples_;
  receive::LagAge lag_age_;
};

/// "0/5A3C1F8  timeline 1  12.3 MB/s  caught up", or with a bar while catching up; at most `width`
/// columns: the least important parts are omitted first.
[[nodiscard]] std::string live_line(const Progress& progress, int width);

/// The same in words for the log; without rates if nothing moved.
[[nodiscard]] std::string log_line(const Progress& progress, std::uint64_t bytes,
                                   std::chrono::milliseconds time);

/// Receives the ticks of a session and shows its progress: as the live line on a terminal,
/// otherwise as a log line every minute if something moved. Never blocks. Any thread.
class ProgressLine {
 public:
  ProgressLine(daemon::Screen& screen, Log& log);

  /// Interval of the required ticks; earlier ones are ignored.
  [[nodiscard]] std::chrono::milliseconds interval() const;
  void tick(const receive::StreamSnapshot& snapshot, receive::Time now);

 private:
  daemon::Screen& screen_;
  Log& log_;
  std::mutex mutex_;
  ProgressMeter meter_;
  std::optional<receive::StreamSnapshot> shown_;
  receive::Time shown_time_;
  receive::Time due_{};
};

}  // namespace weir::cli
