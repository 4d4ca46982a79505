#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "archive/durable_end.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/timelines.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

// (The directory's name is a keyword of C++20, so the namespace has a different one.)
namespace weir::importing {

/// The known timelines: by the archive's histories, and by offered ones that may be added.
class Lineage {
 public:
  explicit Lineage(std::map<wal::TimelineId, wal::TimelineHistory> histories)
      : histories_(std::move(histories)) {}
  [[nodiscard]] static Lineage of(const archive::Timelines& timelines);

  /// Without a history file a timeline has no known ancestors.
  [[nodiscard]] wal::TimelineHistory history(wal::TimelineId timeline) const;
  /// nullptr: there is no history file. Valid as long as this object.
  [[nodiscard]] const wal::TimelineHistory* find(wal::TimelineId timeline) const;
  void add(const wal::TimelineHistory& history) {
    histories_.insert_or_assign(history.timeline(), history);
  }

 private:
  std::map<wal::TimelineId, wal::TimelineHistory> histories_;
};

/// The input of the plan: names and histories, without any content.
struct Facts {
  wal::SegmentSize segment_size{};
  archive::Listing listing{};
  std::vector<archive::Loss> losses{};  ///< recorded ones, open
  std::set<wal::SegmentName> offered{};
  /// Complete segments of ours without a valid file, to be replaced by offered ones.
  std::set<wal::SegmentName> damaged{};
  bool extend = false;  ///< also before and after the archive's WAL
  bool receiver = false;
  std::optional<archive::DurableEnd> durable = std::nullopt;  ///< of the receiver, if it streams
};

/// The relation of an offered segment to the archive, by its name.
enum class Place {
  wanted,       ///< it is missing (or damaged and to be replaced), and may be added
  present,      ///< the archive has it as a complete one
  behind,       ///< it is after the end of the archive's WAL, or its flush position
  before,       ///< it precedes the archive's WAL
  not_on_way,   ///< no recovery reads it: its timeline was left before it or in it
  unknown_way,  ///< its timeline is none of the archive's history
};

/// Consecutive segments that are judged together: all are offered and needed.
struct Run {
  wal::TimelineHistory history{1};  ///< of the history that they are part of
  std::uint64_t first = 0;          ///< number
  std::uint64_t behind = 0;
  bool left = false;   ///< the archive has the complete segment before
  bool right = false;  ///< the archive has the segment after it, complete or not
  bool front = false;  ///< nothing in the archive precedes it
  bool back = false;   ///< nor after it
  bool operator==(const Run&) const = default;
};

struct Plan {
  std::map<wal::SegmentName, Place> places;
  std::vector<Run> runs;
  /// A receiver must not start to stream meanwhile: it could write where files are added.
  bool needs_lock = false;
};

/// Pure.
[[nodiscard]] Plan make_plan(const Facts& facts, const Lineage& lineage);

}  // namespace weir::importing
