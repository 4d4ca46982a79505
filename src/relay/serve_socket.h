#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "io/directory.h"
#include "relay/directory_socket.h"

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
  std::unique_ptr<DirectorySocket> socket_;
};

}  // namespace weir::relay
