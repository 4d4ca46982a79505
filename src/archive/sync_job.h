#pragma once

#include <vector>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// Flushes everything that had been written when the job was taken, and renames full segments into
/// place. run() may be called on any thread; jobs of one writer may run at the same time, each
/// flushes through open file descriptions of its own. Segments are renamed in the order of the
/// jobs: publish() of a job that publishes() waits until every earlier job is done (a job that does
/// not publish is done after sync_data()), otherwise it returns at once.
///
/// After an Error{disk_full, io} the same function may be called again (sync_data() throws these if
/// it also writes data buffered in memory). After Error{durability}, or when a job is destroyed
/// before it is done, all other jobs of the writer fail the same way. The directory must outlive
/// the jobs; the writer does not have to.
///
/// The caller is responsible for positions: a job's end() may be reported upstream only when it and
/// every job taken before it have returned from run().
class SyncJob {
 public:
  virtual ~SyncJob() = default;
  /// Every byte before this is durable and findable once this and all earlier jobs are done.
  [[nodiscard]] virtual wal::Lsn end() const = 0;
  /// True if the job renames a segment into place: more work than an fsync.
  [[nodiscard]] virtual bool publishes() const = 0;
  /// True if it writes or compresses data buffered in memory: also more work than an fsync.
  [[nodiscard]] virtual bool writes() const = 0;
  /// First part: the data syncs; before them, what was buffered in memory is written or
  /// compressed. Throws Error{durability}: final, nothing may be reported again.
  virtual void sync_data() = 0;
  /// Second part: renames and directory fsync. Returns the segments that were renamed into place.
  /// Throws Error{conflict} if a complete file of the segment exists already.
  virtual std::vector<wal::SegmentName> publish() = 0;
  /// After an error: true if this job itself did not fail, but an earlier one failed permanently or
  /// was abandoned.
  [[nodiscard]] virtual bool only_follows() const = 0;
};

/// Runs both parts of a job; for callers with one job at a time.
std::vector<wal::SegmentName> run(SyncJob& job);

}  // namespace weir::archive
