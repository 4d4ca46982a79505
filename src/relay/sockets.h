#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "io/directory.h"
#include "net/directory_socket.h"

// The sockets by which commands query the processes that serve an archive.

namespace weir::relay {

/// The sockets by which `pgweir status -D` queries each `pgweir serve` of a directory. Several may
/// serve one: each takes the first free name out of a few.
class ServeSocket {
 public:
  /// If no socket can be created, as in a read-only directory, this is logged, and no queries are
  /// answered.
  ServeSocket(io::Directory& archive, std::function<std::string()> answer, Log& log);

  struct Answers {
    std::vector<std::string> answers;
    std::vector<std::string> errors;  ///< of the processes that could not be queried
  };
  /// Asks all of them.
  [[nodiscard]] static Answers ask(const std::string& directory);

 private:
  std::unique_ptr<net::DirectorySocket> socket_;
};

/// The socket by which `pgweir slot list|drop -D` queries the process that has an archive's slots.
class SlotsSocket {
 public:
  /// Must be created by the process that has the slots. If no socket can be created, this is
  /// logged, and no queries are answered.
  SlotsSocket(const std::string& directory, std::function<std::string(const std::string&)> answer,
              Log& log);

  /// nullopt: no process has the directory's slots, or it cannot be queried. Throws Error{retry} if
  /// one does not respond within `time`, Error{io} if the socket belongs to another user.
  [[nodiscard]] static std::optional<std::string> ask(const std::string& directory,
                                                      const std::string& line,
                                                      std::chrono::milliseconds time = kAskTime);

  /// A slot that is dropped is synced.
  static constexpr std::chrono::seconds kAskTime{30};

 private:
  std::optional<net::DirectorySocket> socket_;
};

}  // namespace weir::relay
