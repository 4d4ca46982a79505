#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "restore/options.h"
#include "restore/prefetcher.h"
#include "restore/result.h"

namespace weir::restore {

/// restore_file() by paths, as in a restore_command: `places` are queried in order, `target` is
/// relative to the server's data directory, which is the working directory, and the cluster is
/// determined from its pg_control. Temporary failures (an I/O error of a network file system) are
/// retried for up to `patience`; a file that is being written is waited for, unless that is 0.
[[nodiscard]] Result run_restore_command(const Places& places, std::string_view file,
                                         const std::string& target, Options options,
                                         Prefetch prefetch, std::chrono::milliseconds patience,
                                         Log& log);

}  // namespace weir::restore
