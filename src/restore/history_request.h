#pragma once

#include <string>

#include "restore/answer.h"
#include "restore/archives.h"
#include "restore/result.h"
#include "wal/segment.h"

namespace weir::restore {

// The small files that a recovery requests. They throw as restore_file() does.

[[nodiscard]] Result restore_history(Archives& archives, Answer& answer, wal::TimelineId timeline);
/// "<segment>.<offset>.backup"
[[nodiscard]] Result restore_backup_history(Archives& archives, Answer& answer,
                                            const std::string& name);

}  // namespace weir::restore
