#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/periodic_look.h"
#include "net/wake.h"
#include "receive/host_survey.h"
#include "receive/stalled_upstream.h"

namespace weir::receive {

/// While the streaming server sends no WAL: looks for a host that has more, in a thread of its own
/// (StalledUpstream). Never delays streaming.
class StallWatch {
 public:
  struct Task {
    HostSurvey::World world;
    std::vector<std::pair<int, std::string>> hosts;  ///< except the streaming one
    std::chrono::milliseconds after{};               ///< without WAL before they are queried
    /// The durable part of the stream. Any thread.
    std::function<ArchivedSoFar()> ours;
    /// Time since WAL arrived, if all of it is durable; else 0. Any thread.
    std::function<std::chrono::milliseconds()> idle_for;
    /// In the watch's thread; must not block. Returns whether the stream ends: then it was called
    /// for the last time.
    std::function<bool(const HostWord& host, wal::Lsn ours)> found;
    /// The same, if `host` cannot be used. Called once.
    std::function<void(const StalledUpstream::Ahead& ahead, wal::Lsn ours)> blocked;
  };
  StallWatch(Task task, Log& log);
  /// Aborts queries in progress.
  ~StallWatch() { stop_.raise(); }
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

 private:
  bool look();

  const Task task_;
  Log& log_;
  StalledUpstream stalled_;
  bool told_blocked_ = false;
  net::Wake stop_;
  std::optional<PeriodicLook> look_;
};

}  // namespace weir::receive
