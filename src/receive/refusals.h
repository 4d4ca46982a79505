#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "receive/choose_host.h"

namespace weir::receive {

/// The hosts of the connection string that were rejected since the last successful stream, and how
/// long others that may qualify were waited for. Pure.
class Refusals {
 public:
  /// This host is rejected. An error because of its WAL (a gap, other or damaged WAL) is kept as
  /// the reason; rejections because of a server's settings are resolved on that server. Returns
  /// false if all of `count` hosts are rejected: then it is not kept.
  [[nodiscard]] bool add(int host, int count, const Error& error);
  /// This host was rejected, and others were not.
  [[nodiscard]] bool passes_over(int host, int count) const {
    return hosts_.contains(host) && static_cast<int>(hosts_.size()) < count;
  }
  /// All hosts may be tried again. The reason and the time are kept.
  void forget_hosts();
  /// Hosts that were not rejected because of their WAL may be tried again. Returns true if there
  /// were any.
  [[nodiscard]] bool forget_settings();
  /// A stream was successful.
  void clear();

  /// `pause` passes before the hosts are tried again.
  void on_wait(std::chrono::milliseconds pause) {
    if (why_) waited_ += pause;
  }
  /// Verdicts of the hosts that were queried now.
  void on_verdicts(const std::vector<HostVerdict>& verdicts, Time now);

  [[nodiscard]] const std::set<int>& hosts() const { return hosts_; }
  [[nodiscard]] const std::set<int>& for_gap() const { return for_gap_; }
  [[nodiscard]] const std::optional<Error>& why() const { return why_; }
  /// The damage in the WAL of one of these hosts, which therefore has that WAL.
  [[nodiscard]] const std::optional<Error>& damage() const { return damage_; }
  /// Hosts without a usable answer for `patience`.
  [[nodiscard]] std::set<int> given_up(std::chrono::milliseconds patience, Time now) const;
  /// Others were waited for as long as that.
  [[nodiscard]] bool has_waited(std::chrono::milliseconds patience) const {
    return waited_ >= patience;
  }
  /// A host has no usable answer.
  [[nodiscard]] bool some_unsettled() const { return !unsettled_since_.empty(); }

 private:
  std::set<int> hosts_;
  std::set<int> for_wal_;        ///< of these, because of a gap, or of other or damaged WAL
  std::set<int> for_gap_;        ///< of these
  std::optional<Error> damage_;  ///< of one of these
  std::optional<Error> why_;     ///< the gap that a host reported, or why its WAL does not continue
                                 ///< the archive
  std::chrono::milliseconds waited_{};
  std::map<int, Time> unsettled_since_;  ///< hosts without a usable answer
};

}  // namespace weir::receive
