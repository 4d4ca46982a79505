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

/// A Unix socket with a hidden name in an archive's directory, by which commands ask a process that
/// serves. Who connects says a line and gets the answer. Only the archive's owner (and root) may. A
/// thread of its own, idle until asked.
class DirectorySocket {
 public:
  /// Takes over a name that is left of a process that was killed. Throws Error{io} if the name
  /// cannot be had; its system_code() is EADDRINUSE where somebody listens there. `answer` is
  /// called by the socket's thread.
  DirectorySocket(const std::string& directory, std::string name,
                  std::function<std::string(const std::string&)> answer);
  /// Returns when nobody is being answered any more. The name is removed.
  ~DirectorySocket();
  DirectorySocket(const DirectorySocket&) = delete;
  DirectorySocket& operator=(const DirectorySocket&) = delete;

  /// nullopt: nobody listens there. Throws Error{retry} if there is somebody who does not answer in
  /// `time`, Error{io} if the socket is not ours to use.
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
