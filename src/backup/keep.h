#pragma once

#include <vector>

#include "backup/options.h"
#include "backup/report.h"
#include "backup/standing.h"
#include "io/directory.h"
#include "prune/archive_wal.h"

namespace weir::backup {

/// Applies the rules, as `pgweir prune` understands them: removes the backups that none of them
/// needs, then the WAL that no backup needs. Only backups whose names
/// prune::backup_name() has made go, and none whose directory contains another backup, or that one
/// that stays builds upon: what stays keeps its WAL. In a dry run it only fills the report. Throws
/// Error{retry} if it was stopped, or an import is running; what make_plan() throws; Error{io,
/// durability}.
void apply_rules(io::Directory& archive, io::Directory& to, const Options& options,
                 prune::ArchiveWal& wal, const std::vector<Standing>& standing, Report& report);

}  // namespace weir::backup
