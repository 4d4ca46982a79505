#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/log.h"
#include "net/directory_socket.h"

namespace weir::receive {

/// Answers `pgweir status` while a receiver runs. Needs no disk access, so it works when the disk
/// is full or hangs.
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
  Log& log_;
  std::optional<net::DirectorySocket> socket_;
};

}  // namespace weir::receive
