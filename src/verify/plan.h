#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "verify/report.h"
#include "wal/segment.h"

namespace weir::verify {

/// One segment and its files.
struct Node {
  wal::SegmentName name;
  wal::TimelineId timeline = 0;
  std::uint64_t segno = 0;
  std::vector<archive::SegmentFileName> finished{};
  std::vector<archive::SegmentFileName> partial{};
  std::vector<std::size_t> children{};  ///< segments whose first bytes continue this one
  std::optional<std::size_t> parent = std::nullopt;
  bool chosen = false;  ///< to be checked

  [[nodiscard]] bool is_finished() const { return !finished.empty(); }
};

/// One history in the archive.
struct Path {
  wal::TimelineHistory history;
  struct Step {
    std::uint64_t segno = 0;
    std::optional<std::size_t> node = std::nullopt;  ///< nullopt: nothing here
    /// The node has only a .partial, and a complete segment or a gap follows: treated as missing.
    bool unfinished_inside = false;
  };
  std::vector<Step> steps{};  ///< every segment from the first to the last that counts
};

/// The old timeline's file of the segment in which a new one starts must agree with the new one's.
struct SwitchCopy {
  std::size_t old_node = 0;
  std::size_t new_node = 0;
  wal::Lsn switchpoint;
};

struct Scope {
  std::optional<std::uint64_t> first_segno = std::nullopt;
  std::optional<std::uint64_t> last_segno = std::nullopt;  ///< inclusive
  std::optional<wal::TimelineId> timeline = std::nullopt;
  /// Only histories that contain this timeline at this position.
  std::optional<std::pair<wal::TimelineId, wal::Lsn>> through = std::nullopt;
};

/// The segments to check, by names and histories alone. Pure.
struct Plan {
  std::vector<Node> nodes;  ///< by timeline, then number
  std::vector<Path> paths;
  std::vector<Finding> gaps;
  std::vector<SwitchCopy> switch_copies;
  /// Rows of complete segments of one timeline, each the continuation of the one before it.
  std::vector<std::vector<std::size_t>> chunks;
  /// .partial files with nothing before them.
  std::vector<std::size_t> lone_partials;
};

[[nodiscard]] Plan make_plan(const archive::Listing& listing, const archive::Timelines& timelines,
                             wal::SegmentSize size, const Scope& scope, std::size_t chunk_segments);

}  // namespace weir::verify
