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
/// while, fit to go on with, each time it was asked. Pure.
class PreferredHost {
 public:
  PreferredHost(Prefer prefer, std::chrono::milliseconds after) : prefer_(prefer), after_(after) {}

  /// The hosts that do not stream were asked; `ours` is what is durable of the stream now. Returns
  /// the host to move to.
  [[nodiscard]] std::optional<int> on_asked(const std::vector<HostWord>& hosts,
                                            const ArchivedSoFar& ours, Time now);

 private:
  [[nodiscard]] bool fit(const HostWord& host, const ArchivedSoFar& ours) const;

  const Prefer prefer_;
  const std::chrono::milliseconds after_;
  std::map<int, Time> since_;
};

/// How often to ask for that.
[[nodiscard]] std::chrono::milliseconds asks_every(std::chrono::milliseconds after);

}  // namespace weir::receive
