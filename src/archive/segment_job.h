#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "archive/sync_job.h"
#include "archive/written_segment.h"
#include "base/error.h"
#include "base/threads.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "io/pages.h"
#include "wal/lsn.h"

// The parts of a SegmentWriter's jobs.

namespace weir::archive {

/// The state shared by the jobs of one writer.
struct JobOrder {
  explicit JobOrder(Threads& threads)
      : mutex(threads.make_mutex()), changed(threads.make_condition()) {}

  const std::unique_ptr<Threads::Mutex> mutex;
  const std::unique_ptr<Threads::Condition> changed;
  std::vector<std::uint64_t> unfinished;  ///< numbers of jobs, in order
  bool broken = false;                    ///< a job failed permanently or was abandoned
  std::uint64_t durable_creations = 0;    ///< names created up to this number are safe

  void finish(std::uint64_t job, bool success) {
    const std::lock_guard lock(*mutex);
    if (!success) broken = true;
    remove(job);
  }

  /// Must be called under the mutex.
  void remove(std::uint64_t job) {
    std::erase(unfinished, job);
    changed->notify_all();
  }

  static Error broken_error() {
    return Error(ErrorKind::durability, "an earlier flush of the archive failed")
        .hint("No later WAL can be confirmed. The message of the failed flush has the reason.");
  }
};

/// A segment in a job.
struct JobWork {
  std::shared_ptr<WrittenSegment> segment;
  bool publish = false;
  std::shared_ptr<io::Pages> memory = nullptr;  ///< contains the segment, or a piece of it…
  std::uint64_t offset = 0;                     ///< …from here on, in bytes
  bool compress = false;
  bool ready = false;  ///< the compressed file is durable, under its temporary name
  bool renamed = false;
};

struct JobOptions {
  wal::SegmentSize segment_size;
  std::uint64_t number = 0;  ///< is among JobOrder::unfinished
  wal::Lsn end;
  /// Number of file creations that are durable with the job.
  std::optional<std::uint64_t> creations = std::nullopt;
  std::set<std::string> replaceable = {};  ///< as SegmentWriter::Options has it
  codec::Compression compression = {};
};
[[nodiscard]] std::unique_ptr<SyncJob> make_sync_job(io::Directory& directory,
                                                     std::shared_ptr<JobOrder> order,
                                                     std::vector<JobWork> work,
                                                     const JobOptions& options);

}  // namespace weir::archive
