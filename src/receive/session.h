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
#include "receive/feed.h"
#include "receive/machine.h"
#include "receive/mailbox.h"
#include "receive/options.h"
#include "receive/server.h"
#include "receive/status_board.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// Sizes for PostgreSQL's segments. Simulations with smaller segments use smaller ones.
struct Scale {
  std::optional<std::uint64_t> unsynced_limit;  ///< unset: receive::unsynced_limit()
  std::uint64_t catch_up_bytes = kCatchUpBytes;
  std::uint64_t largest_buffered = archive::kLargestBuffered;
};

/// A session's dependencies. Nothing is owned; all must outlive the session.
struct Environment {
  io::Directory& directory;  ///< the archive
  net::Wake& stop;           ///< raised by a signal: finish received WAL, flush, report, end
  Log& log;
  Feed& feed;              ///< to which events are published
  StatusBoard& board;      ///< also a listener of the feed
  std::uint64_t seed = 0;  ///< for random delays
  /// A sync failed: must end the process at once, with exit status 4 and without returning (P6).
  /// May be called on any thread.
  std::function<void(const Error&)> durability_lost;
  /// Approximate interval of event::Progress while WAL streams.
  std::chrono::milliseconds progress_interval{10'000};
  /// Called once the archive is locked. Its result is kept until the end.
  std::function<std::shared_ptr<void>()> archive_taken = {};
  /// Clients to which the archive is served; nullptr: none.
  Downstream* downstream = nullptr;
  /// The object store's state, required for Confirm::stored; nullptr: there is none.
  StoreWords* store = nullptr;
  /// Memory for the parts that run in the same process as the receiver (store, relay, web page), in
  /// bytes: not for buffers if memory is limited. Empty: there are none.
  std::function<std::uint64_t(wal::SegmentSize)> memory_beside = {};
  Machine& machine = this_machine();
  Servers& servers = pq_servers();
  Scale scale = {};
};

/// `pgweir receive`: connects, chooses the start, streams, follows timelines and retries until
/// stopped. Holds the archive's lock while it runs (P5). Returns when stopped by a signal or at
/// endpos; everything received is then durable and reported. Throws the Error that ended it. The
/// simulation in tests/sim calls it as well, with its own machine, servers and directory.
void receive(const Options& options, const Environment& environment);

}  // namespace weir::receive
