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
/// directory; whoever connects gets the answer and the end of the stream. Asking costs no disk
/// access, so it works when the disk is full or hangs. A thread of its own, idle until asked.
class StatusSocket {
 public:
  /// To be made under the archive's lock: a socket left over by a crash is replaced. If the file
  /// system has no sockets that is told once and there is no answer. `answer` is called by the
  /// socket's thread and must not block. Only the archive's owner (and root) may ask.
  StatusSocket(const std::string& directory, std::function<std::string()> answer, Log& log);
  ~StatusSocket();
  StatusSocket(const StatusSocket&) = delete;
  StatusSocket& operator=(const StatusSocket&) = delete;

  /// The answer of the receiver that runs on `directory`; nullopt if none does. Throws Error{retry}
  /// if one runs and does not answer within 2 seconds; Error{io} if the directory or the socket is
  /// not ours to use.
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
