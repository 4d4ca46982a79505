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

/// restore_file() by paths, as a restore_command gets them: `places` are asked in their order and
/// `target` is relative to the server's
/// data directory, which is the working directory, and the cluster is known by its pg_control. What
/// may pass (an I/O error of a network file system) is tried again for up to `patience`.
[[nodiscard]] Result run_restore_command(const Places& places, std::string_view file,
                                         const std::string& target, Options options,
                                         Prefetch prefetch, std::chrono::milliseconds patience,
                                         Log& log);

}  // namespace weir::restore
