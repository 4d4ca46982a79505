#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/descriptor.h"
#include "base/threads.h"
#include "net/listener.h"
#include "net/wake.h"

namespace weir::relay {

/// A Unix socket with a hidden name in an archive's directory, by which commands query a process
/// that serves. A client sends a line and gets the answer. Only the archive's owner (and root) have
/// access. Has a thread of its own, idle until queried.
class DirectorySocket {
 public:
  /// Takes over the name if it was left by a process that was killed. Throws Error{io} if the name
  /// is not available; its system_code() is EADDRINUSE if another process listens there. `answer`
  /// is called by the socket's thread.
  DirectorySocket(const std::string& directory, std::string name,
                  std::function<std::string(const std::string&)> answer);
  /// Returns when no query is being answered any more. The name is removed.
  ~DirectorySocket();
  DirectorySocket(const DirectorySocket&) = delete;
  DirectorySocket& operator=(const DirectorySocket&) = delete;

  /// Returns nullopt if no process listens there. Throws Error{retry} if a process does not respond
  /// within `time`, Error{io} if the socket belongs to another user.
  [[nodiscard]] static std::optional<std::string> ask(const std::string& directory,
                                                      const std::string& name,
                                                      const std::string& line,
                                                      std::chrono::milliseconds time);

 private:
  void work();
  void serve(int client) const;

  const std::string name_;
  const std::function<std::string(const std::string&)> answer_;
  Descriptor place_;  ///< the directory
  std::optional<net::Listener> listener_;
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::relay
