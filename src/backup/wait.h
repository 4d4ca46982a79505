#pragma once

#include <string>

#include "archive/backup_point.h"
#include "backup/options.h"
#include "io/directory.h"

namespace weir::backup {

/// Waits until the archive has all WAL from the backup's begin to its end, and until the end is
/// durable: its segment is complete, or the receiver has flushed it, or, without a receiver, the
/// `.partial` was synced here. Then every record of it is checked. Throws Error{gap} for what
/// cannot come any more, Error{damage} for WAL that is not sound, Error{conflict} for WAL of
/// another branch; Error{retry} if it took longer than Options::wait, or was stopped.
void wait_for_wal(io::Directory& archive, const archive::BackupPoint& backup,
                  const Options& options);

}  // namespace weir::backup
