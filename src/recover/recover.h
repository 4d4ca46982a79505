#pragma once

#include "recover/options.h"
#include "recover/report.h"

namespace weir::recover {

/// Recovers, whatever comes of it: what went wrong is in the report. The archives and the backups
/// are only read. Throws Error{usage} alone, before anything was made.
[[nodiscard]] Report run(const Options& options);

}  // namespace weir::recover
