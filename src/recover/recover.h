#pragma once

#include "recover/options.h"
#include "recover/report.h"

namespace weir::recover {

/// Recovers; errors are in the report. The archives and the backups are only read. Only throws
/// Error{usage}, before anything was created.
[[nodiscard]] Report run(const Options& options);

}  // namespace weir::recover
