#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "archive/losses.h"
#include "base/log.h"
#include "io/directory.h"
#include "net/wake.h"
#include "receive/options.h"
#include "receive/status_board.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// What happens, for a caller that tells it in words of its own. Any may be empty; called on
/// various threads, must not block.
struct Events {
  std::function<void(wal::TimelineId, wal::Lsn start)> streaming;
  std::function<void(wal::SegmentName, wal::Lsn end)> segment_finished;
  /// It has its compressed form, under this name; the raw one is gone.
  std::function<void(wal::SegmentName, const std::string& file)> segment_compressed;
  std::function<void(wal::TimelineId next, wal::Lsn switchpoint)> timeline_switched;
  /// `asked`: by a signal, else at the end position.
  std::function<void(wal::TimelineId, wal::Lsn reached, bool asked)> stopped;
  /// The unfinished segment that a stream left, by its name in the end.
  std::function<void(const std::string&)> left_unfinished;
  /// It was found or accepted just now, and is recorded.
  std::function<void(const archive::Loss&)> loss;
  /// What keeps the archive from growing, each time it is met: `streaming` is the end of it, unless
  /// the run ends with it.
  std::function<void(const Error&)> trouble;
};

/// What a session needs from outside. Nothing is owned; all of it outlives the session.
struct Environment {
  io::Directory& directory;  ///< the archive
  net::Wake& stop;           ///< raised by a signal: finish what is received, flush, report, end
  Log& log;
  StatusBoard& board;
  std::uint64_t seed = 0;  ///< for the jitter of waiting times
  /// A sync failed: must end the process at once, with exit status 4 and without returning (P6).
  /// May be called from any thread.
  std::function<void(const Error&)> durability_lost;
  /// Called about every `tick_interval` while streaming; any thread, must not block.
  std::function<void(const StreamSnapshot&)> tick;
  std::chrono::milliseconds tick_interval{10'000};
  Events events = {};
};

/// `pgweir receive`: connects, chooses the start, streams, follows timelines, tries again, until
/// stopped. Takes the archive's lock for as long as it runs (P5).
/// Returns when stopped by a signal or at endpos, everything received being durable and reported.
/// Throws the Error that ended it.
void receive(const Options& options, const Environment& environment);

}  // namespace weir::receive
