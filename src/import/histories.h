#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "import/offers.h"
#include "import/plan.h"

namespace weir::importing {

/// What happens to the offered histories.
struct HistoryPlan {
  Lineage lineage{{}};  ///< the archive's, and the offered ones that contradict none of them
  struct Wanted : OfferedHistory {
    /// A history of a timeline without WAL in the archive would make that timeline unreachable.
    bool with_segments_only = false;
  };
  std::vector<Wanted> wanted{};
  /// Of timelines that the archive's newest one did not follow: needed only if it skipped them.
  std::vector<OfferedHistory> others{};
  std::size_t present = 0;  ///< the archive has the same
};

/// A history does not name its cluster: it is added if the archive's own timelines need it, with
/// segments of its timeline, whose pages are checked against it, or if its timeline was skipped.
/// Pure.
[[nodiscard]] HistoryPlan plan_histories(const std::map<wal::TimelineId, OfferedHistory>& offered,
                                         const archive::Timelines& timelines,
                                         const archive::Listing& listing, bool extend,
                                         std::vector<LeftOut>& left_out);

}  // namespace weir::importing
