#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "net/wake.h"
#include "receive/host_survey.h"
#include "receive/preferred_host.h"

namespace weir::receive {

/// While a host streams that is not of the preferred role: looks for one that is, in a thread of
/// its own, until one has been there for long enough. Never in the way of a byte.
class PreferWatch {
 public:
  struct Task {
    HostSurvey::World world;
    std::vector<std::pair<int, std::string>> hosts;  ///< but the one that streams
    Prefer prefer = Prefer::any;
    std::chrono::milliseconds after{};
    bool at_once_if_promoted = true;
    /// What is durable of the stream now. Any thread.
    std::function<ArchivedSoFar()> ours;
    /// Called once, in the watch's thread; must not block.
    std::function<void(const std::string& host)> found;
  };
  PreferWatch(Task task, Log& log);
  /// Breaks off what is being asked.
  ~PreferWatch();
  PreferWatch(const PreferWatch&) = delete;
  PreferWatch& operator=(const PreferWatch&) = delete;

 private:
  void work();
  bool look();

  const Task task_;
  Log& log_;
  PreferredHost preferred_;
  net::Wake stop_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  bool over_ = false;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
