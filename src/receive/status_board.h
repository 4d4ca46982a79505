#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "receive/session_state.h"
#include "receive/stream_state.h"

namespace weir::receive {

/// What a running receiver would tell if asked: the source of `pgweir status`, of the line on a
/// terminal and of the minute's log line. Written by the session, its guardian and its helpers;
/// any thread, never blocks for longer than a copy.
class StatusBoard {
 public:
  struct Content {
    std::string state = "starting";  ///< starting, connecting, waiting, streaming, disk full, …
    std::chrono::system_clock::time_point state_since{};
    std::chrono::system_clock::time_point started{};
    std::string server;  ///< name of the upstream, empty while there is none
    bool disk_full = false;
    std::optional<std::string> last_error;
    std::chrono::system_clock::time_point last_error_time{};
    std::vector<archive::ResumePoint::Hole> holes;
    std::optional<std::string> slot;
    std::optional<std::string> slot_warning;  ///< by the slot guard
    std::size_t to_compress = 0;              ///< finished segments still raw
  };

  StatusBoard();

  void set_state(const std::string& state);
  void set_error(const std::string& text);
  /// Any other change, done under the lock; must be quick.
  void update(const std::function<void(Content&)>& change);

  /// Where to ask for the position while WAL streams; empty: it doesn't. When this returns, an
  /// earlier function is not called any more.
  void set_live(std::function<StreamSnapshot()> live);

  [[nodiscard]] Content read() const;
  /// The content as one JSON object; its schema is in docs/status.md.
  [[nodiscard]] std::string to_json() const;

 private:
  mutable std::mutex mutex_;
  Content content_;
  mutable std::mutex live_mutex_;  ///< never taken together with mutex_
  std::function<StreamSnapshot()> live_;
  Time heard_;  ///< when the server was last heard of, if it does not stream now; guarded likewise
};

}  // namespace weir::receive
