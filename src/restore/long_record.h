#pragma once

#include "restore/fetched.h"
#include "restore/seam.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// True if much of the segment is part of a record that continues in the next segment: then only
/// the structure of that part was verified, not its content, which only the record's checksum
/// covers. Short first parts of a record are left to the segment in which it ends (check_seam()).
[[nodiscard]] bool ends_in_a_long_record(const Fetched& segment);

/// Assembles that record from the segment in which it starts, through this one, to the one in which
/// it ends, if they are all present, valid, and few: recovery requests each of them in turn, and
/// the last one is checked against the preceding ones in any case. "Broken" means that the checksum
/// is wrong; which of its segments is damaged is unknown. `others` reads other segments, `content`
/// this one. `history`: of the segment's timeline.
[[nodiscard]] SeamResult check_long_record(const Fetched& segment,
                                           const wal::TimelineHistory* history,
                                           archive::WalSource& others, archive::WalSource& content);

}  // namespace weir::restore
