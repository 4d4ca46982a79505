#pragma once

#include <cstddef>
#include <deque>
#include <optional>

#include "wal/segment.h"

namespace weir::restore {

/// Which segments are fetched before recovery requests them: the next few after the newest
/// requested one, on the same timeline, in order, and no more. Pure; at most `most` segments are
/// fetched or being fetched at any time.
///
/// A segment is planned, then being fetched, then available (fetched and verified; perhaps still
/// being flushed), or it failed: it is not in the archive or not valid. Nothing is fetched after a
/// failed segment: recovery finds out itself, with the full message, and its next request restarts
/// the plan.
class PrefetchPlan {
 public:
  /// `at_once`: number of segments fetched concurrently.
  PrefetchPlan(std::size_t most, wal::SegmentSize size, std::size_t at_once = 1)
      : most_(most), size_(size), at_once_(at_once) {}

  enum class Answer {
    miss,  ///< the caller must read the archive itself
    wait,  ///< it is being fetched (or flushed): query again when that is done
    here,  ///< it can be handed over: then handed_over() follows, or another query
  };
  /// Recovery requests `segment`. Earlier segments are dropped, and all of them if it is not part
  /// of the plan: the plan continues after it in any case.
  [[nodiscard]] Answer asked(wal::SegmentName segment);
  /// The segment was delivered, which frees a slot.
  void handed_over(wal::SegmentName segment);

  /// The next segment to fetch, if there is room and not enough are being fetched; it then is.
  [[nodiscard]] std::optional<wal::SegmentName> begin_fetch();
  /// Ends the fetch of a segment; ignored if the plan has dropped the segment meanwhile.
  void fetched(wal::SegmentName segment);
  void failed(wal::SegmentName segment);

  /// The oldest segment that is here and not synced yet; it is being synced then, which
  /// synced() ends.
  [[nodiscard]] std::optional<wal::SegmentName> begin_sync();
  void synced(wal::SegmentName segment);

  /// False for what was dropped: its file can go, and a fetch of it should end.
  [[nodiscard]] bool wanted(wal::SegmentName segment) const;
  /// True if no segment is available, being fetched or still planned.
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
  std::optional<wal::SegmentName> next_;  ///< the segment after the last slot
};

}  // namespace weir::restore
