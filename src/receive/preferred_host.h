#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "receive/choose_host.h"
#include "receive/flush_policy.h"
#include "receive/options.h"

namespace weir::receive {

/// Longest duration of a failover.
constexpr std::chrono::milliseconds kFailoverTakes{300'000};

/// Whether a stream should be moved to a host of the preferred role. It must have been available
/// for a while, and eligible at each query; but a primary on a newer timeline was promoted, and
/// commits wait for the archive there: then the stream is moved at once. Pure.
class PreferredHost {
 public:
  /// `at_once`: to a promoted one.
  PreferredHost(Prefer prefer, std::chrono::milliseconds after, bool at_once = true)
      : prefer_(prefer), after_(after), at_once_(at_once) {}

  /// The other hosts were queried; `ours` is the durable part of the stream. Returns the host to
  /// move to.
  [[nodiscard]] std::optional<int> on_asked(const std::vector<HostWord>& hosts,
                                            const ArchivedSoFar& ours, Time now);

 private:
  [[nodiscard]] bool fit(const HostWord& host, const ArchivedSoFar& ours) const;

  const Prefer prefer_;
  const std::chrono::milliseconds after_;
  const bool at_once_;
  std::map<int, Time> since_;
};

/// Query interval after streaming for `streams_for`: right after a stream has moved away from a
/// primary, another one may be promoted at any moment.
[[nodiscard]] std::chrono::milliseconds asks_every(std::chrono::milliseconds after, Prefer prefer,
                                                   std::chrono::milliseconds streams_for);

}  // namespace weir::receive
