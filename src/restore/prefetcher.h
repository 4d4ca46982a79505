#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "restore/open_archives.h"
#include "restore/options.h"
#include "wal/segment.h"

namespace weir::restore {

// While PostgreSQL replays one segment, a helper process fetches the next few: it reads,
// decompresses, verifies and flushes them into files without a name on the file system of pg_wal.
// The next restore_command only checks that the archive's file is unchanged, and renames the
// fetched file into place. The kernel removes the helper's files however it exits: there is nothing
// to clean up, and nothing of another recovery to be found. Any doubtful segment is restored in the
// ordinary way, which reports the reason.
//
// The helper exits with the process that recovers (the parent of restore_command), after 30 seconds
// without a request, or when its requests change (another archive, other options). It holds no
// descriptors other than those it needs.

/// How a helper process fetches segments that recovery will request next.
struct Prefetch {
  std::size_t segments = 4;  ///< maximum number; 0: no helper
  std::size_t at_once = 1;   ///< fetched at the same time: from a store
  /// Also without a server: then the helper runs as long as the calling process.
  bool without_server = false;
};

struct Taken {
  bool restored = false;
  bool helper_runs = false;  ///< then none must be started
  std::uint64_t silent = 0;  ///< archives that did not answer the helper, one bit for each
};
/// Queries the helper, if there is one. Never throws: any error means "not restored".
[[nodiscard]] Taken take_prefetched(const Places& places, wal::SegmentName segment,
                                    const std::string& target_directory,
                                    const std::string& target_name, const Options& options,
                                    std::chrono::milliseconds patience) noexcept;

/// Starts a helper that continues after `segment`, if a server recovers into the target directory
/// (or, with prefetch.without_server, in any case) and the system supports files without a name and
/// descriptors of processes. Silently does nothing otherwise. The caller must have only one thread.
void start_prefetcher(const Places& places, wal::SegmentName segment, wal::SegmentSize size,
                      const std::string& target_directory, const Options& options,
                      const Prefetch& prefetch, std::chrono::milliseconds patience) noexcept;

}  // namespace weir::restore
