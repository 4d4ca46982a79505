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

/// Moves to a host of the role that --prefer asks for. A move that came to nothing is not made
/// again soon. The session's thread, but for what the watch finds while a stream runs.
class PreferredMoves {
 public:
  /// All of it outlives this object.
  PreferredMoves(HostSurvey::World world, const HostList& hosts, Log& log)
      : world_(world), hosts_(hosts), log_(log) {}

  /// Whether the server is a standby. It may have been promoted since it was asked last. nullopt
  /// where nobody wants to know, or it cannot be told.
  [[nodiscard]] std::optional<bool> role_of(Server& server) const;

  struct Stream {
    std::size_t host;             ///< that streams
    std::optional<bool> standby;  ///< role_of() it, before the stream
    ArchivedSoFar ours;           ///< as it was when the stream began
    std::function<wal::Lsn()> durable;
    std::function<void()> leave;  ///< ends the stream; must not block
  };
  /// Looks for a better host for as long as it lives; nullptr where there is nothing to look for.
  [[nodiscard]] std::unique_ptr<PreferWatch> watch(Stream stream);

  struct Silent {
    std::size_t host;    ///< that streams
    ArchivedSoFar ours;  ///< as it was when the stream began
    std::function<wal::Lsn()> durable;
    std::function<std::chrono::milliseconds()> silent_for;
    std::function<void(const Error& error)> abandon;  ///< must not block
  };
  /// Looks for a new primary while the server that streams is silent, as long as it lives; nullptr
  /// where there is no other host.
  [[nodiscard]] std::unique_ptr<SuccessorWatch> watch_for_successor(Silent stream);

 private:
  [[nodiscard]] std::vector<std::pair<int, std::string>> all_but(std::size_t host) const;

  const HostSurvey::World world_;
  const HostList& hosts_;
  Log& log_;
  int vain_moves_ = 0;  ///< that came to nothing, in a row
  bool moved_ = false;  ///< and what has come of it is not known yet
};

}  // namespace weir::receive
