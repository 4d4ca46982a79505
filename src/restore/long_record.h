#pragma once

#include "restore/fetched.h"
#include "restore/seam.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// True if much of the segment is of a record that goes on behind its end: then what was found
/// sound of it is its form, not its content, which only the record's checksum covers. Short fronts
/// of a record are left to the segment in which it ends (check_seam()).
[[nodiscard]] bool ends_in_a_long_record(const Fetched& segment);

/// Puts that record together, from the segment in which it begins, over this one, to the one in
/// which it ends, if they are all there, are sound, and are few: recovery asks for each of them in
/// turn, and the last one is checked against the ones before in any case. Broken means that the
/// checksum is wrong; which of its segments is damaged nobody can tell. `others` reads other
/// segments, `content` this one. `history`: of the segment's timeline.
[[nodiscard]] SeamResult check_long_record(const Fetched& segment,
                                           const wal::TimelineHistory* history,
                                           archive::WalSource& others, archive::WalSource& content);

}  // namespace weir::restore
