#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "archive/segment_writer.h"
#include "base/log.h"

namespace weir::receive {

/// Prepares the next segment's file in a thread of its own, so that going over to it costs the
/// stream a rename. The thread starts with the first use.
class Spare {
 public:
  Spare(archive::SegmentWriter& writer, Log& log, std::function<void(const Error&)> durability_lost)
      : writer_(writer), log_(log), durability_lost_(std::move(durability_lost)) {}
  ~Spare() { stop(); }

  /// Any thread; returns at once.
  void prepare();
  /// Returns when the thread has ended. A preparation under way is finished first.
  void stop();

 private:
  void work();

  archive::SegmentWriter& writer_;
  Log& log_;
  std::function<void(const Error&)> durability_lost_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace weir::receive
