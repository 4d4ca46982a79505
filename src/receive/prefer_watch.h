#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/periodic_look.h"
#include "net/wake.h"
#include "receive/host_survey.h"
#include "receive/preferred_host.h"

namespace weir::receive {

/// While the streaming host does not have the preferred role: looks for one that does, in a thread
/// of its own, until one has been available for long enough. Never delays streaming.
class PreferWatch {
 public:
  struct Task {
    HostSurvey::World world;
    std::vector<std::pair<int, std::string>> hosts;  ///< except the streaming one
    Prefer prefer = Prefer::any;
    std::chrono::milliseconds after{};
    bool at_once_if_promoted = true;
    /// The durable part of the stream. Any thread.
    std::function<ArchivedSoFar()> ours;
    /// Called once, in the watch's thread; must not block.
    std::function<void(const std::string& host)> found;
  };
  PreferWatch(Task task, Log& log);
  /// Aborts queries in progress.
  ~PreferWatch() { stop_.raise(); }
  PreferWatch(const PreferWatch&) = delete;
  PreferWatch& operator=(const PreferWatch&) = delete;

 private:
  bool look();

  const Task task_;
  Log& log_;
  PreferredHost preferred_;
  net::Wake stop_;
  std::optional<PeriodicLook> look_;
};

}  // namespace weir::receive
