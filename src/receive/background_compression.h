#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/log.h"
#include "base/threads.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "net/wake.h"
#include "receive/feed.h"
#include "receive/status_board.h"
#include "wal/segment.h"

namespace weir::receive {

/// Compresses complete segments in threads of its own, at low priority, oldest first. One thread as
/// long as it keeps up; each waiting segment adds one more, up to the bound. Segments that are not
/// compressed in time stay raw and are found by the next start. Waits while the disk is full; any
/// other failure is logged and leaves that segment raw.
class BackgroundCompression {
 public:
  struct Options {
    codec::Compression compression;
    wal::SegmentSize segment_size;
    unsigned most_threads = 1;
  };

  /// `durability_lost` must end the process (P6); each of the threads may call it. Throws
  /// std::system_error if not even one thread can be started.
  BackgroundCompression(io::Directory& directory, const Options& options, Threads& threads,
                        Log& log, Feed& feed, StatusBoard& board,
                        std::function<void(const Error&)> durability_lost);
  /// Aborts compressions in progress; their segments stay raw.
  ~BackgroundCompression();

  void add(const std::vector<wal::SegmentName>& segments);
  /// Returns when everything added so far is done (or given up); after `stop` once `patience` has
  /// expired, or at once if all threads only wait for space.
  void drain(const net::Wake& stop, std::chrono::milliseconds patience);

 private:
  void start_thread();
  void start_more_threads();
  void work();
  void compress(wal::SegmentName segment);
  void wait_for_space();
  void tell_waiting();

  io::Directory& directory_;
  const Options options_;
  Log& log_;
  Feed& feed_;
  StatusBoard& board_;
  std::function<void(const Error&)> durability_lost_;

  Threads& threads_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  std::deque<wal::SegmentName> queue_;  ///< not started by any thread
  std::size_t busy_ = 0;                ///< threads that compress a segment…
  std::size_t without_space_ = 0;       ///< …of these, waiting for space
  std::atomic<bool> stop_ = false;
  std::vector<std::unique_ptr<Threads::Thread>> workers_;
};

}  // namespace weir::receive
