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
#include "receive/stall_watch.h"
#include "receive/successor_watch.h"
#include "wal/lsn.h"

namespace weir::receive {

/// Moves to a better host while WAL streams: to one of the role requested with --prefer, or from a
/// server that does not respond, or has stalled. A failed move is not repeated soon. The session's
/// thread, except for what a watch finds while a stream runs.
class PreferredMoves {
 public:
  /// All must outlive this object.
  PreferredMoves(HostSurvey::World world, const HostList& hosts, Log& log)
      : world_(world), hosts_(hosts), log_(log) {}

  /// Whether the server is a standby. It may have been promoted since the last query. nullopt if
  /// there is no other host, or unknown.
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

  struct Idle {
    std::size_t host;             ///< that streams
    std::optional<bool> standby;  ///< role_of() it, before the stream
    ArchivedSoFar ours;           ///< when the stream started
    std::function<wal::Lsn()> durable;
    std::function<std::chrono::milliseconds()> idle_for;  ///< as StallWatch::Task::idle_for
    /// Ends the stream, if it has been idle for that time; returns whether. Must not block.
    std::function<bool(std::chrono::milliseconds least, const Error& error)> abandon;
  };
  /// Looks for a host with more WAL while a standby sends none, during its lifetime; nullptr if
  /// there is no other host, or the server is a primary.
  [[nodiscard]] std::unique_ptr<StallWatch> watch_for_stall(Idle stream);
  /// Sets HostWord::stalled, before a host is chosen.
  void mark(std::vector<HostWord>& hosts) const;

 private:
  [[nodiscard]] std::vector<std::pair<int, std::string>> all_but(std::size_t host) const;
  [[nodiscard]] bool left_recently() const;
  bool on_stalled(const Idle& stream, std::chrono::milliseconds after, const HostWord& host,
                  wal::Lsn ours);

  const HostSurvey::World world_;
  const HostList& hosts_;
  Log& log_;
  int vain_moves_ = 0;  ///< failed moves in a row
  bool moved_ = false;  ///< and the result is not known yet
  struct Leave {
    std::size_t host = 0;  ///< that had stalled
    wal::Lsn position;     ///< there
    Time time{};
    bool settled = false;  ///< the next stream has started
  };
  std::optional<Leave> last_leave_;
  int vain_leaves_ = 0;  ///< after which the same host was streamed from again, in a row
  int leaves_ = 0;       ///< each within kRecent of the one before it
};

}  // namespace weir::receive
