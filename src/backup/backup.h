#pragma once

#include <vector>

#include "backup/options.h"
#include "backup/report.h"
#include "backup/standing.h"

namespace weir::backup {

/// Takes a base backup with pg_basebackup, waits until the archive can bring it to consistency,
/// checks it, makes it durable and gives it its name; then applies the rules. The report has
/// the result, failures too. Throws Error{usage} for places that cannot be used.
[[nodiscard]] Report run(const Options& options);

/// The backups in Options::to, and what they are to the archive, if that is named.
[[nodiscard]] std::vector<Standing> list(const Options& options);

}  // namespace weir::backup
