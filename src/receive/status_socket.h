#pragma once

#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/descriptor.h"
#include "base/log.h"
#include "net/listener.h"
#include "net/wake.h"

namespace weir::receive {

/// Answers `pgweir status` while a receiver runs: a Unix socket with a hidden name in the archive's
/// directory; each client gets the answer and the end of the stream. Needs no disk access, so it
/// works when the disk is full or hangs. A thread of its own, idle until a client connects.
class StatusSocket {
 public:
  /// Must be created under the archive's lock: a socket left over by a crash is replaced. If the
  /// file system does not support sockets, that is logged once and there is no answer. `answer` is
  /// called by the socket's thread and must not block. Only the archive's owner (and root) can
  /// connect.
  StatusSocket(const std::string& directory, std::function<std::string()> answer, Log& log);
  ~StatusSocket();
  StatusSocket(const StatusSocket&) = delete;
  StatusSocket& operator=(const StatusSocket&) = delete;

  /// The answer of the receiver that runs on `directory`; nullopt if none does. Throws Error{retry}
  /// if one runs and does not answer within 2 seconds; Error{io} if the directory or the socket is
  /// not accessible.
  [[nodiscard]] static std::optional<std::string> ask(const std::string& directory);

 private:
  void listen(const std::string& directory);
  void work();
  void serve(int client) const;

  std::function<std::string()> answer_;
  Log& log_;
  Descriptor directory_;
  std::optional<net::Listener> listener_;
  net::Wake stop_;
  std::thread thread_;
};

}  // namespace weir::receive
