#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/log.h"
#include "relay/directory_socket.h"

namespace weir::relay {

/// By which `pgweir slot list|drop -D` asks the process that has an archive's slots.
class SlotsSocket {
 public:
  /// To be made by who has the slots. Where no socket can be had that is told, and nobody is
  /// answered.
  SlotsSocket(const std::string& directory, std::function<std::string(const std::string&)> answer,
              Log& log);

  /// As DirectorySocket::ask(). nullopt: nobody has the directory's slots, or not so that it could
  /// be asked.
  [[nodiscard]] static std::optional<std::string> ask(const std::string& directory,
                                                      const std::string& line,
                                                      std::chrono::milliseconds time = kAskTime);

  /// A slot that is dropped is synced.
  static constexpr std::chrono::seconds kAskTime{30};

 private:
  std::optional<DirectorySocket> socket_;
};

}  // namespace weir::relay
