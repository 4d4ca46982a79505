#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "receive/choose_host.h"
#include "receive/flush_policy.h"
#include "receive/options.h"

namespace weir::receive {

/// Whether a stream is to be moved to a host of the preferred role. It has to have been there for a
/// while, fit to go on with, each time it was asked; but a primary on a newer timeline was
/// promoted, and commits wait for the archive there: it is moved to at once. Pure.
class PreferredHost {
 public:
  /// `at_once`: to one that was promoted.
  PreferredHost(Prefer prefer, std::chrono::milliseconds after, bool at_once = true)
      : prefer_(prefer), after_(after), at_once_(at_once) {}

  /// The hosts that do not stream were asked; `ours` is what is durable of the stream now. Returns
  /// the host to move to.
  [[nodiscard]] std::optional<int> on_asked(const std::vector<HostWord>& hosts,
                                            const ArchivedSoFar& ours, Time now);

 private:
  [[nodiscard]] bool fit(const HostWord& host, const ArchivedSoFar& ours) const;

  const Prefer prefer_;
  const std::chrono::milliseconds after_;
  const bool at_once_;
  std::map<int, Time> since_;
};

/// How often to ask for that, `streams_for` a while already: right after a stream has moved away
/// from a primary, another one may be promoted any moment.
[[nodiscard]] std::chrono::milliseconds asks_every(std::chrono::milliseconds after, Prefer prefer,
                                                   std::chrono::milliseconds streams_for);

}  // namespace weir::receive
