#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/log.h"
#include "net/wake.h"
#include "receive/feed.h"
#include "receive/server.h"
#include "receive/status_board.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// `receive --compare-with`: reads a second upstream's WAL as far as the archive is durable, and
/// compares it with what the archive has. It finds what no checksum can: WAL that was corrupted
/// before its checksum was made, two servers that took one name.
///
/// In nobody's way: a thread, a connection and a handle of the archive of its own; whatever happens
/// to them, archiving neither waits nor fails. The second upstream streams for moments only, one
/// segment's worth at once, without a slot; no position is ever reported to it. So it can shut down
/// at any time (P13), and no commit counts it.
class CompareFeed {
 public:
  struct Options {
    std::string conninfo;
    std::string archive;                 ///< the directory
    std::uint64_t bytes_per_second = 0;  ///< at most
  };

  /// `feed`, `board` and `log` outlive it.
  CompareFeed(Options options, Feed& feed, StatusBoard& board, Log& log);
  ~CompareFeed();
  CompareFeed(const CompareFeed&) = delete;
  CompareFeed& operator=(const CompareFeed&) = delete;

 private:
  class Work;
  /// WAL of one timeline that is streamed without a hole.
  struct Part {
    wal::TimelineId timeline = 0;
    wal::Lsn start;      ///< a segment's first byte
    wal::Lsn durable;    ///< all before it can be compared
    bool ended = false;  ///< no more will come
  };

  void on_event(const Event& happened);
  void run();

  const Options options_;
  Feed& feed_;
  StatusBoard& board_;
  Log& log_;
  net::Wake stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::deque<Part> parts_;
  std::thread thread_;
  Feed::Subscription subscription_;  ///< the first to go
};

}  // namespace weir::receive
