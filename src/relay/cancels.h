#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

#include "wire/client_messages.h"

namespace weir::relay {

/// Sessions whose command can be canceled with the key that they were given. Thread-safe; does not
/// block. Must outlive its sessions.
class Cancels {
 public:
  /// A session, as long as the object exists.
  class Session {
   public:
    /// `cancel` is called under a lock, on another thread: must neither block nor call this object.
    Session(Cancels& cancels, wire::CancelRequest key, std::function<void()> cancel);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

   private:
    Cancels& cancels_;
    const std::uint32_t process_;
  };

  /// There is no answer, whether such a session exists or not.
  void cancel(const wire::CancelRequest& key);

 private:
  struct Place {
    std::uint32_t secret;
    std::function<void()> cancel;
  };
  std::mutex mutex_;
  std::map<std::uint32_t, Place> sessions_;
};

}  // namespace weir::relay
