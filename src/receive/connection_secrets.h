#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/log.h"
#include "pq/client_secrets.h"
#include "receive/habits.h"
#include "receive/machine.h"
#include "receive/options.h"
#include "receive/secrets_watch.h"
#include "receive/server.h"
#include "receive/status_board.h"

namespace weir::receive {

/// The files used for connections: checked before each connection and while a stream runs, shown on
/// the board; problems are logged. The session's thread; the watch's thread while a stream runs.
class ConnectionSecrets {
 public:
  /// All must outlive this object.
  struct World {
    const Options& options;
    const Habits& habits;
    Servers& servers;
    Machine& machine;
    StatusBoard& board;
    Log& log;
  };
  explicit ConnectionSecrets(World world) : world_(world) {}

  /// Reads them before each connection.
  void look();
  void on_connected(const Server& server);
  /// Checks them during its lifetime. `leave` ends the stream, and must not block. nullptr: there
  /// is nothing to check.
  [[nodiscard]] std::unique_ptr<SecretsWatch> watch(const Server& server,
                                                    std::function<void()> leave);

 private:
  void show(const pq::SecretsLook& look, const std::string& problem);
  void tell_expiry(const std::string& what, std::chrono::sys_seconds expires);

  const World world_;
  std::function<pq::SecretsLook()> look_;          ///< empty: no files are needed
  pq::SecretsLook secrets_;                        ///< as they were before the last connection
  std::optional<pq::SecretsLook> connected_with_;  ///< at the last successful connection
  std::set<std::string> told_expiries_;
};

}  // namespace weir::receive
