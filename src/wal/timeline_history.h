#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wal/lsn.h"

namespace weir::wal {

/// The ancestry of one timeline, as a `.history` file tells it (readTimeLineHistory in
/// access/transam/timeline.c). A value: parsed once, then only asked.
class TimelineHistory {
 public:
  /// `timeline` was left for its successor at `switchpoint`: bytes before it belong to `timeline`.
  struct Ancestor {
    TimelineId timeline;
    Lsn switchpoint;
    bool operator==(const Ancestor&) const = default;
  };

  /// A timeline without ancestors: that of a new cluster.
  explicit TimelineHistory(TimelineId timeline) : timeline_(timeline) {}

  /// Reads the content of `<timeline>.history`: lines of timeline, switchpoint and reason,
  /// comments after '#'. nullopt if a line is malformed or has 0/0, if timelines do not ascend
  /// strictly, if one is not below `timeline`, or if the content has no ancestor at all.
  [[nodiscard]] static std::optional<TimelineHistory> parse(TimelineId timeline,
                                                            std::string_view content);

  [[nodiscard]] TimelineId timeline() const { return timeline_; }
  /// Oldest first; without the timeline itself.
  [[nodiscard]] const std::vector<Ancestor>& ancestors() const { return ancestors_; }

  /// True for the timeline itself and for each of its ancestors.
  [[nodiscard]] bool contains(TimelineId timeline) const;
  /// Where `timeline` ends in this history: its switchpoint; nullopt for the newest timeline
  /// (which has no end) and for one that is not part of the history.
  [[nodiscard]] std::optional<Lsn> end_of(TimelineId timeline) const;
  /// Where `timeline` begins in this history: the switchpoint of its predecessor, 0/0 for the
  /// oldest; nullopt for one that is not part of the history.
  [[nodiscard]] std::optional<Lsn> begin_of(TimelineId timeline) const;
  /// The timeline that the byte at `lsn` belongs to.
  [[nodiscard]] TimelineId timeline_of(Lsn lsn) const;
  /// The timeline that follows `timeline` in this history; nullopt for the newest and for a
  /// foreign one.
  [[nodiscard]] std::optional<TimelineId> successor_of(TimelineId timeline) const;

  /// That of the newest ancestor, of which there must be one.
  [[nodiscard]] TimelineHistory of_parent() const;

  bool operator==(const TimelineHistory&) const = default;

 private:
  TimelineId timeline_;
  std::vector<Ancestor> ancestors_;
};

}  // namespace weir::wal
