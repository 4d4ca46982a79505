#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wal/lsn.h"

namespace weir::wal {

/// The ancestry of one timeline, from a `.history` file (readTimeLineHistory in
/// access/transam/timeline.c). An immutable value.
class TimelineHistory {
 public:
  /// `timeline` was followed by its successor at `switchpoint`: bytes before it belong to
  /// `timeline`.
  struct Ancestor {
    TimelineId timeline;
    Lsn switchpoint;
    /// The file has a later switchpoint in the timeline's own line (see parse()). A walsender goes
    /// by that line (tliSwitchPoint() in access/transam/timeline.c): it sends WAL of the timeline
    /// that is not of its cluster's history.
    bool is_cut = false;
    bool operator==(const Ancestor& other) const {
      return timeline == other.timeline && switchpoint == other.switchpoint;
    }
  };

  /// A timeline without ancestors: that of a new cluster.
  explicit TimelineHistory(TimelineId timeline) : timeline_(timeline) {}

  /// Parses the content of `<timeline>.history`: lines of timeline, switchpoint and reason,
  /// comments after '#'. A switchpoint before that of the line above means that nothing of the
  /// line's timeline was replayed, and not all of the timeline above: a recovery to a target before
  /// the newest timeline writes that. nullopt if a line is malformed or has 0/0, if timelines are
  /// not strictly ascending, if one is not below `timeline`, or if there are no ancestors at all.
  [[nodiscard]] static std::optional<TimelineHistory> parse(TimelineId timeline,
                                                            std::string_view content);

  [[nodiscard]] TimelineId timeline() const { return timeline_; }
  /// Oldest first; without the timeline itself.
  [[nodiscard]] const std::vector<Ancestor>& ancestors() const { return ancestors_; }

  /// True for the timeline itself and for each of its ancestors.
  [[nodiscard]] bool contains(TimelineId timeline) const;
  /// Where `timeline` ends in this history: its switchpoint; nullopt for the newest timeline (which
  /// has no end) and for timelines not in the history.
  [[nodiscard]] std::optional<Lsn> end_of(TimelineId timeline) const;
  /// Ancestor::is_cut; false for others.
  [[nodiscard]] bool is_cut(TimelineId timeline) const;
  /// Where `timeline` starts in this history: the switchpoint of its predecessor, 0/0 for the
  /// oldest; nullopt for timelines not in the history.
  [[nodiscard]] std::optional<Lsn> begin_of(TimelineId timeline) const;
  /// The timeline that the byte at `lsn` belongs to.
  [[nodiscard]] TimelineId timeline_of(Lsn lsn) const;
  /// The timeline that follows `timeline` in this history; nullopt for the newest and for others.
  [[nodiscard]] std::optional<TimelineId> successor_of(TimelineId timeline) const;

  /// The history of the newest ancestor, which must exist.
  [[nodiscard]] TimelineHistory of_parent() const;

  bool operator==(const TimelineHistory&) const = default;

 private:
  void add(Ancestor next);

  TimelineId timeline_;
  std::vector<Ancestor> ancestors_;
};

}  // namespace weir::wal
