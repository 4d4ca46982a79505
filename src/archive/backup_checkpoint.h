#pragma once

#include "archive/backup_point.h"
#include "io/shelf.h"
#include "wal/segment.h"

namespace weir::archive {

/// A backup_label names no cluster, but the checkpoint that the backup began with. Where the
/// archive has the WAL of that place, sound from the segment's begin on, it has to be that
/// checkpoint. Throws Error{conflict} if it is another record: the label is of another cluster, or
/// of another branch of this one, and where it starts says nothing of this archive. WAL that is not
/// there, or is damaged, says nothing. Throws Error{io}.
void require_checkpoint(io::Shelf& directory, const BackupPoint& backup,
                        wal::SegmentSize segment_size);

}  // namespace weir::archive
