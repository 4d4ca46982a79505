#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "archive/resume.h"
#include "lineage.h"
#include "pq/replication.h"
#include "story.h"
#include "support/sim_disk.h"

namespace weir::sim {

/// Keeps account of what the receiver promised, over crashes and restarts, and holds the archive
/// against it. What it finds is thrown as a Violation, named by the promise of DESIGN.
class Ledger {
 public:
  Ledger(const Lineage& lineage, Story& story) : lineage_(lineage), story_(story) {}

  /// A process begins.
  void on_process();
  /// START_REPLICATION succeeded.
  void on_stream(wal::TimelineId timeline, wal::Lsn start);
  void on_received(wal::Lsn end) { received_ = end; }
  void on_status(const pq::StandbyStatus& status);
  /// A sync or close was made to fail: this process may not report any more (P6).
  void on_failed_sync() { sync_failed_ = true; }
  /// The operator was told of a hole.
  void on_hole(const archive::ResumePoint::Hole& hole) {
    if (std::find(told_holes_.begin(), told_holes_.end(), hole) == told_holes_.end())
      told_holes_.push_back(hole);
  }

  /// P1, P2 and the order of histories and segments, after a power loss.
  void check(const SimDisk& disk, bool everything);
  /// P3, of what a recovery along the newest timeline would read.
  void check_continuity(const SimDisk& disk) const;
  [[nodiscard]] wal::Lsn reported(wal::TimelineId timeline) const;

 private:
  struct Range {
    wal::Lsn begin;
    wal::Lsn end;
  };
  void check_reported(const SimDisk& disk, bool everything);
  void check_names(const SimDisk& disk, bool everything);
  /// The file of that segment in the archive, finished or not.
  [[nodiscard]] std::optional<std::string> find(const SimDisk& disk, wal::TimelineId timeline,
                                                wal::Lsn segment) const;
  /// The file, in whatever form, has these raw bytes there.
  [[nodiscard]] static bool holds(const SimDisk& disk, const std::string& file,
                                  std::uint64_t offset, std::span<const std::byte> expected);
  [[nodiscard]] bool told(wal::Lsn begin, wal::Lsn end) const;

  const Lineage& lineage_;
  Story& story_;
  std::map<wal::TimelineId, std::vector<Range>> promised_;  ///< reported as flushed, by stream
  std::vector<archive::ResumePoint::Hole> told_holes_;
  std::set<std::string> checked_;  ///< finished files that were right once

  // Of the connection.
  wal::TimelineId timeline_ = 0;
  wal::Lsn received_;
  std::optional<pq::StandbyStatus> last_;
  bool sync_failed_ = false;
};

}  // namespace weir::sim
