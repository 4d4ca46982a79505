#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "io/directory.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::archive {

/// What an archive's history files say about its timelines. A value, read once.
class Timelines {
 public:
  /// Reads every history file. A broken one is kept as a complaint (it does not hide the others).
  static Timelines read(io::Directory& directory, const Listing& listing);

  struct Complaint {
    std::string file;
    std::string what;
  };
  [[nodiscard]] const std::vector<Complaint>& complaints() const { return complaints_; }

  /// The ancestry of a timeline: from its own history file; a timeline without one has no known
  /// ancestors (timeline 1 has none at all). nullopt if its history file is broken.
  [[nodiscard]] std::optional<wal::TimelineHistory> history(wal::TimelineId timeline) const;
  /// Timelines that have a history file, ascending.
  [[nodiscard]] std::vector<wal::TimelineId> known() const;

 private:
  std::map<wal::TimelineId, wal::TimelineHistory> histories_;
  std::vector<Complaint> complaints_;
};

/// One way through the archive: the segments of one history, in order, each from the timeline that
/// a recovery along that history takes it from.
struct Coverage {
  wal::TimelineId timeline = 0;  ///< the history's newest timeline
  struct Range {
    wal::Lsn begin;  ///< first byte of a segment
    wal::Lsn end;    ///< behind the last finished segment of an unbroken row
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> ranges;  ///< more than one: there are holes between
  /// A hole may be bridged by nothing in the archive: [end of a range, begin of the next).
};

/// For each timeline that is not an ancestor of another one with segments: what a recovery along it
/// would find, by names alone. Finished forms only.
[[nodiscard]] std::vector<Coverage> coverage(const Listing& listing, const Timelines& timelines,
                                             wal::SegmentSize segment_size);

}  // namespace weir::archive
