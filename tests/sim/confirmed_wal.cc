#include "confirmed_wal.h"

#include <algorithm>

namespace weir::sim {

using wal::Lsn;

void ConfirmedWal::on_told(wal::TimelineId timeline, Lsn flush, const char* whom) {
  const auto begin = ledger_.promised_from(timeline);
  if (!begin || flush <= *begin) return;
  last_ = Told{timeline, flush, whom};
  auto [known, first_time] = checked_.try_emplace(timeline, kSegment.segno(*begin));
  for (auto& segno = known->second; kSegment.start(segno) < flush; ++segno) {
    if (in_store(timeline, segno)) {
      ++segments_;
    } else if (!let_go(segno)) {
      check_last();
      ++beginnings_;
      return;  // all of it is needed later
    }
  }
}

void ConfirmedWal::check_last() {
  if (!last_) return;
  const auto& [timeline, flush, whom] = *last_;
  const auto known = checked_.find(timeline);
  auto each = kSegment.segno(flush);
  if (known != checked_.end()) each = std::min(each, known->second);
  for (; kSegment.start(each) < flush; ++each)
    if (!stored(timeline, each, flush))
      throw Violation{
          "P18", fmt::format("{} was told that WAL up to {} on timeline {} is flushed, and "
                             "the store has not got segment {}",
                             whom, flush, timeline, wal::SegmentName(timeline, each, kSegment))};
}

/// All of the segment, or, of the one with the position inside, what is before that.
bool ConfirmedWal::stored(wal::TimelineId timeline, std::uint64_t segno, Lsn flush) {
  return in_store(timeline, segno) || let_go(segno) ||
         (flush < kSegment.start(segno + 1) && beginning_in_store(timeline, segno, flush));
}

bool ConfirmedWal::beginning_in_store(wal::TimelineId timeline, std::uint64_t segno, Lsn flush) {
  for (auto holder = timeline; holder > 0; --holder) {
    if (holder < timeline && lineage_.timeline(holder).switchpoint < flush) return false;
    if (store_.has_beginning(wal::SegmentName(holder, segno, kSegment), flush)) return true;
  }
  return false;
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
