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

namespace weir::receive {

/// A server that sends nothing, though it was asked for a reply, may hang, be disconnected, or only
/// be slow. If another host is a primary on a newer timeline meanwhile, its further WAL is useless,
/// and commits may wait for the archive at the other host. This watch looks for such a host, in a
/// thread of its own, while the streaming server is silent. Never delays streaming.
class SuccessorWatch {
 public:
  /// Time without a message of the server before other hosts are queried.
  static constexpr std::chrono::milliseconds kSilence{3'000};

  struct Task {
    HostSurvey::World world;
    std::vector<std::pair<int, std::string>> hosts;  ///< except the streaming one
    /// The durable part of the stream. Any thread.
    std::function<ArchivedSoFar()> ours;
    /// Time since the server's last message. Any thread.
    std::function<std::chrono::milliseconds()> silent_for;
    /// Called once, in the watch's thread; must not block.
    std::function<void(const HostWord& host)> found;
  };
  SuccessorWatch(Task task, Log& log);
  /// Aborts queries in progress.
  ~SuccessorWatch() { stop_.raise(); }
  SuccessorWatch(const SuccessorWatch&) = delete;
  SuccessorWatch& operator=(const SuccessorWatch&) = delete;

 private:
  bool look();

  const Task task_;
  Log& log_;
  net::Wake stop_;
  std::optional<PeriodicLook> look_;
};

/// A primary on a newer timeline that continues `ours`, and has the next WAL. Pure.
[[nodiscard]] bool is_successor(const HostWord& host, const ArchivedSoFar& ours);

}  // namespace weir::receive
