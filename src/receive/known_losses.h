#pragma once

#include <set>
#include <string>
#include <vector>

#include "archive/losses.h"
#include "base/log.h"
#include "wal/lsn.h"

namespace weir::receive {

/// What a receiver knows to be lost: the losses that are recorded in the archive, and those that
/// are to be recorded before anything is streamed behind them. Each is told once in the log, and
/// again when it is recorded. Pure: the log is the only thing outside.
class KnownLosses {
 public:
  /// `log` outlives it.
  explicit KnownLosses(Log& log) : log_(log) {}

  /// The records as the archive holds them now. What an earlier reading said still counts for a
  /// record that cannot be read this time.
  void set_recorded(std::vector<archive::Loss> losses);
  /// Tells those that were not told yet.
  void tell();

  /// `loss` is to be recorded, unless it is or waits for that already.
  void add_pending(archive::Loss loss);
  void clear_pending() { pending_.clear(); }
  /// The next one to be recorded; nullptr: none.
  [[nodiscard]] const archive::Loss* next_pending() const {
    return pending_.empty() ? nullptr : &pending_.front();
  }
  /// The next pending one was recorded, as `loss` says.
  void on_recorded(archive::Loss loss);
  /// One was recorded that was not pending.
  void on_noticed(archive::Loss loss);

  /// Holes that are none any more once timeline `timeline` is streamed from `start`, by the ids of
  /// their records. They are forgotten.
  [[nodiscard]] std::vector<std::string> take_refilled(wal::TimelineId timeline, wal::Lsn start);

  /// Recorded and pending ones; the latter say that they are not recorded.
  [[nodiscard]] std::vector<archive::Loss> all() const;

 private:
  Log& log_;
  std::vector<archive::Loss> recorded_;
  std::vector<archive::Loss> pending_;
  std::set<std::string> told_;  ///< by id
};

}  // namespace weir::receive
