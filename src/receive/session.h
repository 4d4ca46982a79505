#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "archive/segment_writer.h"
#include "base/log.h"
#include "io/directory.h"
#include "net/wake.h"
#include "receive/downstream.h"
#include "receive/feed.h"
#include "receive/machine.h"
#include "receive/options.h"
#include "receive/server.h"
#include "receive/status_board.h"
#include "receive/store_words.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// Sizes that fit PostgreSQL's segments. A world with smaller ones has smaller ones.
struct Scale {
  std::optional<std::uint64_t> unsynced_limit;  ///< unset: receive::unsynced_limit()
  std::uint64_t catch_up_bytes = kCatchUpBytes;
  std::uint64_t largest_buffered = archive::kLargestBuffered;
};

/// What a session needs from outside. Nothing is owned; all of it outlives the session.
struct Environment {
  io::Directory& directory;  ///< the archive
  net::Wake& stop;           ///< raised by a signal: finish what is received, flush, report, end
  Log& log;
  Feed& feed;              ///< where it is published what happens
  StatusBoard& board;      ///< a listener of the feed, too
  std::uint64_t seed = 0;  ///< for the jitter of waiting times
  /// A sync failed: must end the process at once, with exit status 4 and without returning (P6).
  /// May be called from any thread.
  std::function<void(const Error&)> durability_lost;
  /// About how often event::Progress happens while WAL streams.
  std::chrono::milliseconds progress_interval{10'000};
  /// Called once the archive is taken. What it returns is kept until the end.
  std::function<std::shared_ptr<void>()> archive_taken = {};
  /// Those to whom the archive is served meanwhile; nullptr: nobody.
  Downstream* downstream = nullptr;
  /// What the object store has, for Confirm::stored, which needs it; nullptr: there is none.
  StoreWords* store = nullptr;
  Machine& machine = this_machine();
  Servers& servers = pq_servers();
  Scale scale = {};
};

/// `pgweir receive`: connects, chooses the start, streams, follows timelines, tries again, until
/// stopped. Takes the archive's lock for as long as it runs (P5).
/// Returns when stopped by a signal or at endpos, everything received being durable and reported.
/// Throws the Error that ended it.
/// The simulation in tests/sim calls it, too, with a machine, servers and a directory of its own.
void receive(const Options& options, const Environment& environment);

}  // namespace weir::receive
