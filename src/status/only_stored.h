#pragma once

#include <map>
#include <vector>

#include "archive/listing.h"
#include "io/shelf.h"
#include "status/report.h"
#include "store/ledger/mark.h"
#include "wal/segment.h"

namespace weir::status {

// Finished segments that an archive's object store has and its directory has not: what
// --local-retention has removed. A recovery finds them with "restore --store" alone.

/// Unbroken rows of segments by timeline, ascending.
using Rows = std::map<wal::TimelineId, std::vector<SegnoRange>>;
[[nodiscard]] Rows rows_of(const archive::Listing& listing, wal::SegmentSize size);
[[nodiscard]] Rows rows_of(const store::Mark& mark);
/// What is in `ranges` and not in `others`. Both ascending, as what is returned.
[[nodiscard]] std::vector<SegnoRange> without(const std::vector<SegnoRange>& ranges,
                                              const std::vector<SegnoRange>& others);

/// Fills in Timeline::only_stored and Window::stored_from: `there` less `here`. Pure.
void describe_only_stored(StatusReport& report, const Rows& there, const Rows& here);

/// By what the directory knows of its store, in the mark; nobody is asked. What cannot be read is
/// told in `damaged`.
void add_mark(StatusReport& report, io::Shelf& directory);

}  // namespace weir::status
