#pragma once

#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/log.h"
#include "pq/connection.h"

namespace weir::receive {

/// Answers `pgweir status` while a receiver runs: a Unix socket with a hidden name in the archive's
/// directory; whoever connects gets the answer and the end of the stream. Asking costs no disk
/// access, so it works when the disk is full or hangs. A thread of its own, idle until asked.
class StatusSocket {
 public:
  /// To be made under the archive's lock: a socket left over by a crash is replaced. If the file
  /// system has no sockets that is told once and there is no answer.
  StatusSocket(std::string directory, std::function<std::string()> answer, Log& log);
  ~StatusSocket();

  /// The answer of the receiver that runs on `directory`; nullopt if none does.
  [[nodiscard]] static std::optional<std::string> ask(const std::string& directory);

 private:
  void work();

  std::string directory_;
  std::function<std::string()> answer_;
  Log& log_;
  int socket_ = -1;
  pq::Interrupt stop_;
  std::thread thread_;
};

}  // namespace weir::receive
