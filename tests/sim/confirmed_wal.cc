#include "confirmed_wal.h"

namespace weir::sim {

using wal::Lsn;

/// A position inside a segment speaks for an object of all of it: fronts of open segments are not
/// sent here.
void ConfirmedWal::on_told(wal::TimelineId timeline, Lsn flush, const char* whom) {
  const auto begin = ledger_.promised_from(timeline);
  if (!begin || flush <= *begin) return;
  auto [known, first_time] = checked_.try_emplace(timeline, kSegment.segno(*begin));
  for (auto& segno = known->second; kSegment.start(segno) < flush; ++segno) {
    if (!in_store(timeline, segno)) {
      if (let_go(segno)) continue;
      throw Violation{
          "P18", fmt::format("{} was told that WAL up to {} on timeline {} is flushed, and "
                             "the store has not got segment {}",
                             whom, flush, timeline, wal::SegmentName(timeline, segno, kSegment))};
    }
    ++segments_;
  }
}

/// On the timeline itself, or on one that it has come from, up to where that was left.
bool ConfirmedWal::in_store(wal::TimelineId timeline, std::uint64_t segno) {
  for (auto holder = timeline; holder > 0; --holder) {
    if (holder < timeline && lineage_.timeline(holder).switchpoint < kSegment.start(segno + 1))
      return false;
    const wal::SegmentName segment(holder, segno, kSegment);
    // What it had and has lost it was asked for in time.
    if (store_.has(segment) || store_.has_lost(segment)) return true;
  }
  return false;
}

/// The server may let it go all the same: it was pruned, sent or not, or the operator was told that
/// it is a hole.
bool ConfirmedWal::let_go(std::uint64_t segno) const {
  const auto begin = kSegment.start(segno);
  const auto end = kSegment.start(segno + 1);
  return end <= ledger_.given_up_before() || ledger_.told(begin, end);
}

}  // namespace weir::sim
