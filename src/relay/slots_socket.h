#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/log.h"
#include "relay/directory_socket.h"

namespace weir::relay {

/// The socket by which `pgweir slot list|drop -D` queries the process that has an archive's slots.
class SlotsSocket {
 public:
  /// Must be created by the process that has the slots. If no socket can be created, this is
  /// logged, and no queries are answered.
  SlotsSocket(const std::string& directory, std::function<std::string(const std::string&)> answer,
              Log& log);

  /// As DirectorySocket::ask(). nullopt: no process has the directory's slots, or it cannot be
  /// queried.
  [[nodiscard]] static std::optional<std::string> ask(const std::string& directory,
                                                      const std::string& line,
                                                      std::chrono::milliseconds time = kAskTime);

  /// A slot that is dropped is synced.
  static constexpr std::chrono::seconds kAskTime{30};

 private:
  std::optional<DirectorySocket> socket_;
};

}  // namespace weir::relay
