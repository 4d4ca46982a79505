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

/// Compresses finished segments in a thread of its own, at low priority, oldest first. What it does
/// not get done is found as a raw segment by the next start. A full disk is waited for; any other
/// failure is told and leaves that segment raw.
class CompressionThread {
 public:
  /// `durability_lost` must end the process (P6).
  CompressionThread(io::Directory& directory, codec::Compression compression,
                    wal::SegmentSize segment_size, Threads& threads, Log& log, Feed& feed,
                    StatusBoard& board, std::function<void(const Error&)> durability_lost);
  /// Finishes nothing: what is under way is broken off and left raw.
  ~CompressionThread();

  void add(const std::vector<wal::SegmentName>& segments);
  /// Returns when everything added so far is done (or given up); after `stop` when `patience` is
  /// over, or at once where it waits for space.
  void drain(const net::Wake& stop, std::chrono::milliseconds patience);

 private:
  void work();
  void compress(wal::SegmentName segment);

  io::Directory& directory_;
  const codec::Compression compression_;
  const wal::SegmentSize segment_size_;
  Log& log_;
  Feed& feed_;
  StatusBoard& board_;
  std::function<void(const Error&)> durability_lost_;

  Threads& threads_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  std::deque<wal::SegmentName> queue_;
  bool busy_ = false;
  bool no_space_ = false;  ///< busy, but only with waiting
  std::atomic<bool> stop_ = false;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
