#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "net/wake.h"
#include "receive/host_survey.h"

namespace weir::receive {

/// A server that says nothing, though it was asked for a sign of life, may hang, be cut off, or
/// only be slow. When another host is a primary on a newer timeline meanwhile, nothing good comes
/// from it any more, and commits may wait for the archive at the other one. This watch looks for
/// such a host, in a thread of its own, while the server that streams is silent. Never in the way
/// of a byte.
class SuccessorWatch {
 public:
  /// So long the server has said nothing before anybody else is asked.
  static constexpr std::chrono::milliseconds kSilence{3'000};

  struct Task {
    HostSurvey::World world;
    std::vector<std::pair<int, std::string>> hosts;  ///< but the one that streams
    /// What is durable of the stream now. Any thread.
    std::function<ArchivedSoFar()> ours;
    /// How long the server has said nothing. Any thread.
    std::function<std::chrono::milliseconds()> silent_for;
    /// Called once, in the watch's thread; must not block.
    std::function<void(const HostWord& host)> found;
  };
  SuccessorWatch(Task task, Log& log);
  /// Breaks off what is being asked.
  ~SuccessorWatch();
  SuccessorWatch(const SuccessorWatch&) = delete;
  SuccessorWatch& operator=(const SuccessorWatch&) = delete;

 private:
  void work();
  bool look();

  const Task task_;
  Log& log_;
  net::Wake stop_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  bool over_ = false;
  std::unique_ptr<Threads::Thread> thread_;
};

/// A primary on a newer timeline that leads on from `ours`, and has the WAL that comes next. Pure.
[[nodiscard]] bool is_successor(const HostWord& host, const ArchivedSoFar& ours);

}  // namespace weir::receive
