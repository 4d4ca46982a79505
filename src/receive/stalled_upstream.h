#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "receive/choose_host.h"
#include "receive/flush_policy.h"
#include "wal/lsn.h"

namespace weir::receive {

/// Sets HostWord::stalled of the standbys that have nothing after `position`.
void mark_stalled(std::vector<HostWord>& hosts, wal::Lsn position);

/// Whether the streaming server, which sends nothing, has stalled: another host has had more WAL
/// for a while, and is the one to choose. A standby may be disconnected from its primary, or
/// receive its WAL from this very archive (--serve). A stream is not left for the other side of a
/// split brain: with two primaries, or if the primary has nothing more, the server is idle. Pure.
class StalledUpstream {
 public:
  /// `confirm`: how long the other host must have had that WAL.
  explicit StalledUpstream(std::chrono::milliseconds confirm) : confirm_(confirm) {}

  struct Ahead {
    HostWord host;
    std::string obstacle{};  ///< why it cannot be streamed from; empty: it can
  };
  /// The other hosts were queried; `ours` is the stream, of which everything received is durable.
  /// Returns the host with more WAL.
  [[nodiscard]] std::optional<Ahead> on_asked(std::vector<HostWord> hosts,
                                              const ArchivedSoFar& ours, Prefer prefer, Time now);
  /// A host with more WAL was found, and is to be confirmed.
  [[nodiscard]] bool suspects() const { return since_.has_value(); }

 private:
  const std::chrono::milliseconds confirm_;
  wal::Lsn position_;          ///< of the stream at the last query
  std::optional<Time> since_;  ///< another host has had more than that
};

}  // namespace weir::receive
