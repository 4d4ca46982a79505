#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "net/wake.h"
#include "receive/feed.h"
#include "receive/machine.h"
#include "receive/server.h"
#include "receive/status_board.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// `receive --compare-with`: reads a reference server's WAL as far as the archive is durable, and
/// compares it with the archive. It finds what no checksum can: WAL that was corrupted before its
/// checksum was computed, or two servers using the same name.
///
/// Never delays archiving: it has a thread, a connection and an archive handle of its own;
/// archiving neither waits for them nor fails because of them. The reference server streams for
/// moments only, some MB at once, without a slot; no position is ever reported to it, and while it
/// streams nothing here waits for the disk. So it can shut down at any time (P13), and no commit
/// waits for this client.
class CompareFeed {
 public:
  struct Options {
    std::string conninfo;
    std::string archive;                 ///< the directory
    std::uint64_t bytes_per_second = 0;  ///< limit
    /// Query interval when caught up, and the shortest pause after an error.
    std::chrono::milliseconds look_every{1'000};
  };

  /// Dependencies; all must outlive this object.
  struct World {
    Servers& servers;
    Machine& machine;
    Feed& feed;
    StatusBoard& board;
    Log& log;
    /// Opens the archive, on the thread; empty: its directory.
    std::function<std::unique_ptr<io::Directory>()> open = {};
    std::uint64_t seed = std::random_device()();  ///< of the pauses
  };
  CompareFeed(Options options, const World& world);
  ~CompareFeed();
  CompareFeed(const CompareFeed&) = delete;
  CompareFeed& operator=(const CompareFeed&) = delete;

 private:
  class Work;
  /// WAL of one timeline, streamed without a gap.
  struct Part {
    wal::TimelineId timeline = 0;
    wal::Lsn start;      ///< a segment's first byte
    wal::Lsn durable;    ///< everything before it can be compared
    bool ended = false;  ///< no more will come
  };

  void on_event(const Event& happened);
  void run();

  const Options options_;
  const World world_;
  net::Wake stop_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  bool over_ = false;
  std::deque<Part> parts_;
  std::unique_ptr<Threads::Thread> thread_;  ///< nullptr: it could not be started
  Feed::Subscription subscription_;          ///< destroyed first
};

}  // namespace weir::receive
