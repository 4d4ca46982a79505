// The extent of a gap is determined before it is reported. The server names only the one segment it
// no longer has. The oldest available one is found by requesting segments (without the slot), so
// that the message and `--on-gap continue` are exact on every version, without SQL.

#include "receive/gap_search.h"

#include <span>

namespace weir::receive {

GapSearch::Next GapSearch::next(wal::Lsn server_end, bool front) {
  if (!gone_here_) {
    if (missing_ < server_end) return Probe{missing_};
    gone_here_ = true;
  }
  if (!begun_) {
    begun_ = true;
    lost_ = size_.segno(missing_);
    held_ = size_.segno(server_end);
    if (held_ <= lost_) return NothingFollows{};
  }
  if (held_ - lost_ > 1) return Probe{size_.start(lost_ + (held_ - lost_) / 2)};
  // (At the end of its WAL there may be nothing to send yet.)
  const auto held = size_.start(held_);
  if (!reset_ && front && held + kFront <= server_end) return ReadFront{held};
  return Found{.held = held, .last_lost = held_ - 1, .reset = reset_ == true};
}

GapSearch::Answer GapSearch::on_probed(bool available) {
  if (!gone_here_) {
    gone_here_ = true;
    return available ? Answer::has_it : Answer::noted;
  }
  const auto middle = lost_ + (held_ - lost_) / 2;
  (available ? held_ : lost_) = middle;
  return Answer::noted;
}

/// pg_resetwal starts with a record without a prev-link (WriteEmptyXLOG()). No other first record
/// of a segment has none, except initdb's very first one.
void GapSearch::on_front(std::string_view wal) {
  reset_ = false;
  const auto bytes = std::as_bytes(std::span(wal));
  if (bytes.size() < kFront) return;
  const auto page = wal::decode_page_header(bytes);
  if (!page || page->first_is_continuation() ||
      page->size() + wal::kRecordHeaderSize > bytes.size())
    return;
  const auto record =
      wal::decode_record_header(bytes.subspan(page->size()).first<wal::kRecordHeaderSize>());
  reset_ = record.total_length > 0 && !record.previous.valid();
}

void GapSearch::on_disconnected() { begun_ = gone_here_ = false; }

}  // namespace weir::receive
