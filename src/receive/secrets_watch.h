#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "io/files_watch.h"
#include "net/wake.h"
#include "pq/client_secrets.h"
#include "receive/machine.h"
#include "receive/secret_changes.h"

namespace weir::receive {

/// While WAL streams: checks whether the files used for the connection are replaced, in a thread of
/// its own. It waits for the kernel's notification of a change, and checks every five minutes in
/// any case; if there are no notifications, every two seconds. Never delays streaming.
class SecretsWatch {
 public:
  struct Task {
    Machine& machine;
    /// Runs in a thread that is abandoned if the watch ends while it hangs: it must own everything
    /// that it uses.
    std::function<pq::SecretsLook()> look;
    pq::SecretsLook used;  ///< by the streaming connection; only its files are watched
    /// After each check, in the watch's thread; `problem` is why no connection could be made now.
    std::function<void(const pq::SecretsLook&, const std::string& problem)> seen;
    // With --reconnect-on-rotation; else empty.
    std::function<void(const net::Wake&)> try_out;  ///< connects with the current files; throws
    std::function<void()> leave;                    ///< must not block
    /// Minimum time between two checks. If two files are replaced in succession, usually both are
    /// complete by then.
    std::chrono::nanoseconds pause = std::chrono::seconds(2);
    /// With kernel notifications: for undetected changes, and for certificates that expire.
    std::chrono::nanoseconds look_anyway = std::chrono::minutes(5);
  };
  SecretsWatch(Task task, Log& log);
  ~SecretsWatch();
  SecretsWatch(const SecretsWatch&) = delete;
  SecretsWatch& operator=(const SecretsWatch&) = delete;

 private:
  struct Seen {
    std::unique_ptr<io::FilesWatch> news;  ///< nullptr: the kernel does not tell
    pq::SecretsLook found;
  };
  void work();
  std::optional<Seen> look_unless_stopped();
  void judge(const pq::SecretsLook& found);
  bool move();
  bool stopped_within(std::chrono::nanoseconds time, const io::FilesWatch* news);

  const Task task_;
  Log& log_;
  SecretChanges changes_;
  bool move_wanted_ = false;
  std::string refused_;  ///< why a connection with the new files failed, as logged
  Time next_try_{};
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
