#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "recovery/promise.h"

// Texts of a server's configuration. Pure.

namespace weir::recovery {

/// A value in the syntax of the server's configuration file, with its quotes.
[[nodiscard]] std::string quoted_setting(std::string_view value);

struct TargetSetting {
  const char* name;
  std::string value;
};
/// Returns the recovery_target… setting for the target. `latest` is pinned to the last record read:
/// a recovery that ends before it fails ("recovery ended before configured recovery target was
/// reached", 13 and later), and WAL that arrives meanwhile is not replayed. `immediate` is pinned
/// to the record at the backup's end, too. With recovery_target = 'immediate', a server ends its
/// recovery of a standby's backup at the minRecoveryPoint of the copied pg_control, which may
/// precede the end in the manifest (do_pg_backup_stop() in access/transam/xlog.c reads it after the
/// copy); and it fails if no record follows (recoveryStopsAfter() in access/transam/xlogrecovery.c
/// compares only records of transactions with that target). If no record is replayed at all, there
/// is no target: a server would fail at the end of the WAL, since it has not stopped at one
/// (PerformWalRecovery() in access/transam/xlogrecovery.c).
[[nodiscard]] TargetSetting target_setting(const Target& target, wal::Lsn last_record);

/// Lines that are not empty.
template <typename Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    if (!line.empty()) visit(line);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
}

}  // namespace weir::recovery
