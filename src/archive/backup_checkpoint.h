#pragma once

#include "archive/backup_point.h"
#include "io/shelf.h"
#include "wal/segment.h"

namespace weir::archive {

/// The archive's state at the position of a backup's checkpoint.
enum class CheckpointThere {
  yes,      ///< that checkpoint; or nothing to compare: the backup names none, or the WAL is of a
            ///< newer server than this pgweir knows
  not_yet,  ///< the archive lacks the record, or its end
  damaged,  ///< the WAL from the segment's start to the record is damaged
};

/// A backup_label names no cluster, but it names the checkpoint that the backup began with. If the
/// archive has valid WAL from the start of that segment to the checkpoint, the record there must be
/// that checkpoint. Throws Error{conflict} if it is a different record: then the label belongs to
/// another cluster, or to another branch of this one, and its start position means nothing in this
/// archive. Throws Error{io}.
[[nodiscard]] CheckpointThere require_checkpoint(io::Shelf& directory, const BackupPoint& backup,
                                                 wal::SegmentSize segment_size);

}  // namespace weir::archive
