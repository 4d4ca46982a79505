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

// While PostgreSQL replays one segment, a helper process fetches the next few: it reads, unpacks,
// checks and syncs them into files without a name on the file system of pg_wal. The next
// restore_command only looks whether the archive's file is still the same and gives the file its
// name. What the helper has vanishes with it, by the kernel, however it ends: there is nothing to
// clean up, and nothing of another recovery to be found. Whatever is in doubt is restored the
// ordinary way, which tells what is the matter.
//
// The helper ends with the process that recovers (the parent of restore_command), after 30 seconds
// without a question, or when its questions come to differ (another archive, other options). It
// holds no descriptor that it was not started for.

/// How a helper process fetches what recovery will ask for next.
struct Prefetch {
  std::size_t segments = 4;  ///< at most so many; 0: no helper
  std::size_t at_once = 1;   ///< fetched at the same time: from a store
  /// Also without a server: then the helper lives as long as the process that called us.
  bool without_server = false;
};

struct Taken {
  bool restored = false;
  bool helper_runs = false;  ///< then none has to be started
  std::uint64_t silent = 0;  ///< archives that did not answer the helper, one bit for each
};
/// Asks the helper, if there is one. Never throws: all that goes wrong means "not restored".
[[nodiscard]] Taken take_prefetched(const Places& places, wal::SegmentName segment,
                                    const std::string& target_directory,
                                    const std::string& target_name, const Options& options,
                                    std::chrono::milliseconds patience) noexcept;

/// Starts a helper that goes on behind `segment`, if a server recovers into the target directory
/// (or, with prefetch.without_server, in any case) and the system can do what is needed: files
/// without a name, descriptors of processes. Silently does nothing otherwise. The caller has to
/// have one thread.
void start_prefetcher(const Places& places, wal::SegmentName segment, wal::SegmentSize size,
                      const std::string& target_directory, const Options& options,
                      const Prefetch& prefetch, std::chrono::milliseconds patience) noexcept;

}  // namespace weir::restore
