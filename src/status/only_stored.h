#pragma once

#include <map>
#include <vector>

#include "archive/listing.h"
#include "io/shelf.h"
#include "status/report.h"
#include "store/ledger/mark.h"
#include "wal/segment.h"

namespace weir::status {

// Complete segments that are in an archive's object store, but not in its directory, because
// --local-retention has removed them. A recovery finds them only with "restore --store".

/// Unbroken rows of segments by timeline, ascending.
using Rows = std::map<wal::TimelineId, std::vector<SegnoRange>>;
[[nodiscard]] Rows rows_of(const archive::Listing& listing, wal::SegmentSize size);
[[nodiscard]] Rows rows_of(const store::Mark& mark);
/// What is in `ranges` and not in `others`. Both ascending, as what is returned.
[[nodiscard]] std::vector<SegnoRange> without(const std::vector<SegnoRange>& ranges,
                                              const std::vector<SegnoRange>& others);

/// Fills in Timeline::only_stored and Window::stored_from: `there` less `here`. Pure.
void describe_only_stored(StatusReport& report, const Rows& there, const Rows& here);

/// Uses the directory's mark, which lists what was uploaded; does not query the store. Reports what
/// cannot be read in `damaged`.
void add_mark(StatusReport& report, io::Shelf& directory);

}  // namespace weir::status
