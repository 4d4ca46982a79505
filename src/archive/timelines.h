#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "base/error.h"
#include "io/shelf.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::archive {

/// The contents of an archive's history files. Value type, read once.
class Timelines {
 public:
  /// Reads every history file. A broken one becomes a complaint (it does not hide the others).
  static Timelines read(io::Shelf& directory, const Listing& listing);
  /// Adds another archive's data for timelines of which there is no valid history here.
  void add(const Timelines& other);

  struct Complaint {
    wal::TimelineId timeline = 0;
    std::string file;  ///< its name in the archive
    std::string what;
    ErrorKind kind = ErrorKind::damage;  ///< io: it could not be read, and may be valid
  };
  [[nodiscard]] const std::vector<Complaint>& complaints() const { return complaints_; }

  /// The ancestry of a timeline: from its own history file; a timeline without one has no known
  /// ancestors (timeline 1 has none at all). nullopt if its history file is broken.
  [[nodiscard]] std::optional<wal::TimelineHistory> history(wal::TimelineId timeline) const;
  /// Timelines that have a history file, ascending.
  [[nodiscard]] std::vector<wal::TimelineId> known() const;
  /// Every timeline whose valid history contains `timeline` (itself not), ascending.
  [[nodiscard]] std::vector<wal::TimelineId> descendants(wal::TimelineId timeline) const;

 private:
  std::map<wal::TimelineId, wal::TimelineHistory> histories_;
  std::vector<Complaint> complaints_;
};

/// The history files that the archive lacks, although a recovery that begins with its oldest
/// timeline requests them: of timelines with segments, or that another history names. That of the
/// oldest one, too (readTimeLineHistory() in access/transam/timeline.c); timeline 1 has none. By
/// timeline: what shows that it existed, in words.
[[nodiscard]] std::map<wal::TimelineId, std::string> missing_histories(const Listing& listing,
                                                                       const Timelines& timelines);

/// The timeline whose file of segment `segno` a recovery along `history` reads: the newest that
/// starts before the segment ends (XLogFileReadAnyTLI in access/transam/xlogrecovery.c). The
/// segment with a switchpoint is therefore that of the new timeline, which starts with a copy of
/// the old one's bytes.
[[nodiscard]] wal::TimelineId timeline_of_segment(const wal::TimelineHistory& history,
                                                  std::uint64_t segno,
                                                  wal::SegmentSize segment_size);

/// The segments of one history in the archive, in order, each from the timeline that a recovery
/// along that history reads it from.
struct Coverage {
  wal::TimelineId timeline = 0;  ///< the history's newest timeline
  struct Range {
    wal::Lsn begin;  ///< first byte of a segment
    wal::Lsn end;    ///< after the last complete segment of an unbroken row
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> ranges;  ///< more than one: there are holes between them
  /// Ranges not covered by the archive: [end of a range, start of the next).
};

/// Returns what a recovery along one history would find, by the names of complete segments.
[[nodiscard]] std::vector<Coverage::Range> ranges_along(const Listing& listing,
                                                        const wal::TimelineHistory& history,
                                                        wal::SegmentSize segment_size);

/// For each timeline with segments that is not an ancestor of another one with segments: what a
/// recovery along it would find, by names alone, ascending. Ranges are of complete forms only; a
/// timeline that has nothing but a .partial is listed with what its ancestors cover. A timeline
/// whose own history file is broken is covered by its own segments alone.
[[nodiscard]] std::vector<Coverage> coverage(const Listing& listing, const Timelines& timelines,
                                             wal::SegmentSize segment_size);

}  // namespace weir::archive
