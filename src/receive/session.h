#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/log.h"
#include "io/directory.h"
#include "pq/connection.h"
#include "receive/options.h"
#include "receive/status_board.h"

namespace weir::receive {

/// What a session needs from outside. Nothing is owned; all of it outlives the session.
struct Environment {
  io::Directory& directory;  ///< the archive
  pq::Interrupt& stop;       ///< raised by a signal: finish what is received, flush, report, end
  Log& log;
  StatusBoard& board;
  std::uint64_t seed = 0;  ///< for the jitter of waiting times
  /// A sync failed: must end the process at once, with exit status 4 and without returning (P6).
  /// May be called from any thread.
  std::function<void(const Error&)> durability_lost;
  /// Called about every `tick_interval` while streaming; any thread, must not block.
  std::function<void(const StreamSnapshot&)> tick;
  std::chrono::milliseconds tick_interval{10'000};
};

/// `pgweir receive`: connects, chooses the start, streams, follows timelines, tries again, until
/// stopped. Takes the archive's lock for as long as it runs (P5).
/// Returns when stopped by a signal or at endpos, everything received being durable and reported.
/// Throws the Error that ended it.
void receive(const Options& options, const Environment& environment);

}  // namespace weir::receive
