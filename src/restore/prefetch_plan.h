#pragma once

#include <cstddef>
#include <deque>
#include <optional>

#include "wal/segment.h"

namespace weir::restore {

/// Which segments are fetched before recovery asks for them: the next few behind the newest one it
/// asked for, on the same timeline, in order, and no more. Pure; bounded by `most` segments that
/// are fetched or being fetched at any time.
///
/// A segment is planned, then being fetched, then here (fetched and checked; perhaps it is being
/// synced for a moment), or it failed: it is not in the archive or not sound. Behind one that
/// failed nothing is fetched: recovery finds out itself, with the full message, and its next
/// question begins the plan anew.
class PrefetchPlan {
 public:
  /// `at_once`: so many are fetched at the same time.
  PrefetchPlan(std::size_t most, wal::SegmentSize size, std::size_t at_once = 1)
      : most_(most), size_(size), at_once_(at_once) {}

  enum class Answer {
    miss,  ///< the caller has to look into the archive itself
    wait,  ///< it is being fetched (or synced): ask again when that is done
    here,  ///< it can be handed over: then handed_over() follows, or another question
  };
  /// Recovery asks for `segment`. What lies before it is dropped, and everything if it is not the
  /// plan's: the plan goes on behind it in any case.
  [[nodiscard]] Answer asked(wal::SegmentName segment);
  /// It was given away: room for one more.
  void handed_over(wal::SegmentName segment);

  /// The next segment to fetch, if there is room and not enough are being fetched; it then is.
  [[nodiscard]] std::optional<wal::SegmentName> begin_fetch();
  /// Ends the fetch of a segment; one that the plan has dropped meanwhile is ignored.
  void fetched(wal::SegmentName segment);
  void failed(wal::SegmentName segment);

  /// The oldest segment that is here and not synced yet; it is being synced then, which
  /// synced() ends.
  [[nodiscard]] std::optional<wal::SegmentName> begin_sync();
  void synced(wal::SegmentName segment);

  /// False for what was dropped: its file can go, and a fetch of it should end.
  [[nodiscard]] bool wanted(wal::SegmentName segment) const;
  /// Nothing is here, under way or left to be tried.
  [[nodiscard]] bool empty_handed() const;

 private:
  enum class State { fetching, here, syncing, synced, failed };
  struct Slot {
    wal::SegmentName segment;
    State state;
  };

  void begin_behind(wal::SegmentName segment);
  [[nodiscard]] Slot* find(wal::SegmentName segment);
  [[nodiscard]] const Slot* find(wal::SegmentName segment) const;
  [[nodiscard]] std::optional<wal::SegmentName> behind(wal::SegmentName segment) const;

  std::size_t most_;
  wal::SegmentSize size_;
  std::size_t at_once_;
  std::deque<Slot> slots_;                ///< one after the other, without a hole
  std::optional<wal::SegmentName> next_;  ///< the one behind the last slot
};

}  // namespace weir::restore
