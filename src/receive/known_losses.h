#pragma once

#include <set>
#include <string>
#include <vector>

#include "archive/losses.h"
#include "base/log.h"
#include "wal/lsn.h"

namespace weir::receive {

/// A receiver's known losses: those recorded in the archive, and those to be recorded before
/// anything after them is streamed. Each is logged once, and again when it is recorded. Pure except
/// for the log.
class KnownLosses {
 public:
  /// `log` must outlive it.
  explicit KnownLosses(Log& log) : log_(log) {}

  /// The records now in the archive. If a record cannot be read this time, its previous content
  /// still counts.
  void set_recorded(std::vector<archive::Loss> losses);
  /// Logs new ones.
  void tell();

  /// `loss` is to be recorded, unless it is recorded or pending.
  void add_pending(archive::Loss loss);
  void clear_pending() { pending_.clear(); }
  /// The next one to be recorded; nullptr: none.
  [[nodiscard]] const archive::Loss* next_pending() const {
    return pending_.empty() ? nullptr : &pending_.front();
  }
  /// The next pending one was recorded as `loss`.
  void on_recorded(archive::Loss loss);
  /// A loss that was not pending was recorded.
  void on_noticed(archive::Loss loss);

  /// Removes and returns, by the ids of their records, holes that are filled when timeline
  /// `timeline` is streamed from `start`.
  [[nodiscard]] std::vector<std::string> take_refilled(wal::TimelineId timeline, wal::Lsn start);

  /// Recorded and pending ones; the latter are marked as not recorded.
  [[nodiscard]] std::vector<archive::Loss> all() const;

 private:
  Log& log_;
  std::vector<archive::Loss> recorded_;
  std::vector<archive::Loss> pending_;
  std::set<std::string> told_;  ///< by id
};

}  // namespace weir::receive
