#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "verify/report.h"
#include "wal/lsn.h"

namespace weir::verify {

/// The result for one segment.
struct Outcome {
  enum class State {
    pending,
    sound,    ///< to its end
    partial,  ///< of a .partial: up to `end`, and no sign of WAL after it
    damaged,
    vanished,  ///< removed during the run
  };
  State state = State::pending;
  wal::Lsn end;  ///< valid WAL ends here; of a damaged one perhaps 0/0
  std::string file{};
};

/// A record that sets the server's wal_level from there on.
struct WalLevelSet {
  wal::Lsn start;
  wal::Lsn end;
  bool minimal = false;
  auto operator<=>(const WalLevelSet&) const = default;
};

/// Findings of the segments' checks, collected under a lock from all threads.
class Results {
 public:
  /// `advance` receives the number of bytes read, `stop` is queried whether to stop; either may be
  /// empty.
  Results(std::size_t nodes, std::function<void(std::uint64_t)> advance, std::function<bool()> stop)
      : advance_(std::move(advance)), stop_(std::move(stop)), outcomes_(nodes) {}

  /// A boundary and the segment after it may both find the same byte: it is reported once.
  void add(Finding finding);
  void note(std::string text);
  void settle(std::size_t node, Outcome outcome);
  /// The record over the boundary before that segment is damaged: its valid WAL ends at `end`.
  void border_broken(std::size_t node, wal::Lsn end);
  /// The start of that segment could not be read for the check of the boundary before it. Reported
  /// if the segment itself could be read.
  void border_unread(std::size_t node, Finding finding);
  /// An XLOG_BACKUP_END record of the named backup.
  void backup_ended(wal::TimelineId timeline, wal::Lsn end);
  /// A record that lowers wal_level to minimal, or raises it.
  void wal_level_set(wal::TimelineId timeline, WalLevelSet set);
  void count_file();
  void count_records(std::uint64_t records);
  /// Counts bytes of WAL that were read. Returns whether to continue.
  bool moved(std::uint64_t bytes);

  /// It was requested to stop: the results are incomplete.
  [[nodiscard]] bool stopped() const { return stopped_; }

  // After all threads are done.
  [[nodiscard]] std::vector<Finding>& findings() { return findings_; }
  [[nodiscard]] std::vector<Finding> unread_borders() const;
  [[nodiscard]] std::vector<std::string>& notes() { return notes_; }
  [[nodiscard]] Outcome outcome(std::size_t node) const;
  [[nodiscard]] std::uint64_t records() const { return records_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t files() const { return files_; }
  /// By timeline of the segment.
  [[nodiscard]] const std::vector<std::pair<wal::TimelineId, wal::Lsn>>& backup_ends() const {
    return backup_ends_;
  }
  /// By timeline of the segment and by position; a record that was read twice is included once.
  [[nodiscard]] const std::set<std::pair<wal::TimelineId, WalLevelSet>>& wal_levels() const {
    return wal_levels_;
  }

 private:
  const std::function<void(std::uint64_t)> advance_;
  const std::function<bool()> stop_;
  std::atomic<bool> stopped_ = false;

  std::mutex mutex_;
  std::vector<Finding> findings_;
  std::vector<std::string> notes_;
  std::vector<Outcome> outcomes_;
  std::map<std::size_t, wal::Lsn> broken_borders_;  ///< by the segment after it; where it ends
  std::map<std::size_t, Finding> unread_borders_;   ///< likewise
  std::uint64_t records_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t files_ = 0;
  std::vector<std::pair<wal::TimelineId, wal::Lsn>> backup_ends_;
  std::set<std::pair<wal::TimelineId, WalLevelSet>> wal_levels_;
};

}  // namespace weir::verify
