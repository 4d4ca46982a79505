#pragma once

#include <functional>
#include <memory>

#include "archive/segment_writer.h"
#include "base/log.h"
#include "base/threads.h"

namespace weir::receive {

/// Prepares the next segment's file in a thread of its own, so that switching to it costs the
/// stream only a rename. The thread is started by the first use.
class Spare {
 public:
  Spare(archive::SegmentWriter& writer, Threads& threads, Log& log,
        std::function<void(const Error&)> durability_lost);
  ~Spare() { stop(); }

  /// Any thread; returns at once.
  void prepare();
  /// Returns when the thread has ended. A preparation in progress is completed first.
  void stop();

 private:
  void work();

  archive::SegmentWriter& writer_;
  Log& log_;
  std::function<void(const Error&)> durability_lost_;
  Threads& threads_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  bool wanted_ = false;
  bool stop_ = false;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
