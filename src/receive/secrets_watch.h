#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/log.h"
#include "io/files_watch.h"
#include "net/wake.h"
#include "pq/client_secrets.h"
#include "receive/machine.h"
#include "receive/secret_changes.h"

namespace weir::receive {

/// While WAL streams: looks whether the files that the connection was made with are replaced, in a
/// thread of its own. It sleeps until the kernel tells that one of them may have changed, and looks
/// every five minutes all the same; where the kernel cannot tell, every two seconds. Never in the
/// way of a byte.
class SecretsWatch {
 public:
  struct Task {
    Machine& machine;
    std::function<pq::SecretsLook()> look;
    pq::SecretsLook used;  ///< for the connection that streams; the files are those of it
    /// After each look, in the watch's thread; `problem` is why no connection could be made now.
    std::function<void(const pq::SecretsLook&, const std::string& problem)> seen;
    // With --reconnect-on-rotation; else empty.
    std::function<void(const net::Wake&)> try_out;  ///< connects with what is there; throws
    std::function<void()> leave;                    ///< must not block
    /// Between two looks at least. Of two files that are replaced one after the other mostly both
    /// are there by then.
    std::chrono::nanoseconds pause = std::chrono::seconds(2);
    /// Where the kernel tells of changes: for what it does not see, and for certificates that end.
    std::chrono::nanoseconds look_anyway = std::chrono::minutes(5);
  };
  SecretsWatch(Task task, Log& log);
  ~SecretsWatch();
  SecretsWatch(const SecretsWatch&) = delete;
  SecretsWatch& operator=(const SecretsWatch&) = delete;

 private:
  void work();
  void look();
  bool move();
  bool stopped_within(std::chrono::nanoseconds time, const io::FilesWatch* news);

  const Task task_;
  Log& log_;
  SecretChanges changes_;
  bool move_wanted_ = false;
  std::string refused_;  ///< why what is new does not connect, as it was told
  Time next_try_{};
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::receive
