#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "receive/choose_host.h"
#include "receive/machine.h"
#include "receive/options.h"
#include "receive/prefer_watch.h"
#include "receive/server.h"
#include "receive/successor_watch.h"
#include "wal/lsn.h"

namespace weir::receive {

/// Moves to a host of the role requested with --prefer. A failed move is not repeated soon. The
/// session's thread, except for what the watch finds while a stream runs.
class PreferredMoves {
 public:
  /// All must outlive this object.
  PreferredMoves(HostSurvey::World world, const HostList& hosts, Log& log)
      : world_(world), hosts_(hosts), log_(log) {}

  /// Whether the server is a standby. It may have been promoted since the last query. nullopt if
  /// not needed, or unknown.
  [[nodiscard]] std::optional<bool> role_of(Server& server) const;

  struct Stream {
    std::size_t host;             ///< that streams
    std::optional<bool> standby;  ///< role_of() it, before the stream
    ArchivedSoFar ours;           ///< when the stream started
    std::function<wal::Lsn()> durable;
    std::function<void()> leave;  ///< ends the stream; must not block
  };
  /// Looks for a better host during its lifetime; nullptr if there is nothing to look for.
  [[nodiscard]] std::unique_ptr<PreferWatch> watch(Stream stream);

  struct Silent {
    std::size_t host;    ///< that streams
    ArchivedSoFar ours;  ///< when the stream started
    std::function<wal::Lsn()> durable;
    std::function<std::chrono::milliseconds()> silent_for;
    std::function<void(const Error& error)> abandon;  ///< must not block
  };
  /// Looks for a new primary while the streaming server does not respond, during its lifetime;
  /// nullptr if there is no other host.
  [[nodiscard]] std::unique_ptr<SuccessorWatch> watch_for_successor(Silent stream);

 private:
  [[nodiscard]] std::vector<std::pair<int, std::string>> all_but(std::size_t host) const;

  const HostSurvey::World world_;
  const HostList& hosts_;
  Log& log_;
  int vain_moves_ = 0;  ///< failed moves in a row
  bool moved_ = false;  ///< and the result is not known yet
};

}  // namespace weir::receive
