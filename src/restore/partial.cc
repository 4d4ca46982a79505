#include "restore/partial.h"

#include <algorithm>
#include <span>
#include <vector>

#include "archive/segment_reader.h"
#include "restore/seam.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::restore {

using archive::SegmentFileName;
using codec::Method;

namespace {

/// What is sound of a .partial. Zeros behind the last record are its natural end, and so is a
/// compressed stream that breaks off; WAL behind a place that is not sound is not.
class Scanner {
 public:
  Scanner(wal::RecordVerifier& verifier, wal::SegmentSize size, wal::Lsn start)
      : verifier_(verifier), size_(size), start_(start) {}

  void take(std::span<const std::byte> wal);
  /// End of the last complete record; 0/0 if there is none.
  [[nodiscard]] wal::Lsn cut() const;
  /// Sound up to the segment's end.
  [[nodiscard]] bool complete() const { return !damage_ && bytes_ == size_.bytes(); }
  /// What ends it, if WAL is behind that.
  [[nodiscard]] std::optional<Error> damage() const;

 private:
  wal::RecordVerifier& verifier_;
  wal::SegmentSize size_;
  wal::Lsn start_;
  std::uint64_t bytes_ = 0;
  std::vector<std::byte> page_;  ///< header of the page that begins, as far as it has come
  std::uint32_t continued_ = 0;  ///< bytes of the record that the segment begins in
  std::optional<wal::Damage> damage_;
  std::optional<wal::Lsn> wal_behind_;  ///< page of this segment behind the damage
};

}  // namespace

std::optional<Partial> find_partial(ArchiveFacts& facts, wal::SegmentName segment,
                                    wal::SegmentSize size) {
  const auto start = segment.start(size);
  const auto history = facts.history_of(segment.timeline());
  std::optional<Partial> best;
  for (const Method method : kForms) {
    const SegmentFileName name{segment, method, true};
    if (!facts.directory().find(name.to_string())) continue;
    if (const auto page = archive::read_first_page_header(facts.directory(), name))
      static_cast<void>(facts.size_of(name, *page));
    wal::RecordVerifier verifier({.segment_size = size,
                                  .timeline = segment.timeline(),
                                  .system_identifier = facts.expected_system_identifier(),
                                  .history = history ? &*history : nullptr},
                                 start);
    Scanner scanner(verifier, size, start);
    std::optional<Error> broken;
    try {
      archive::read_segment(facts.directory(), name, size, [&](auto wal) { scanner.take(wal); });
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      broken = error;
    }
    Partial scanned{.name = name,
                    .cut = scanner.cut(),
                    .complete = scanner.complete(),
                    .damage = scanner.damage(),
                    .checked = !verifier.unchecked(),
                    .first_record = verifier.first_record_start(),
                    .previous_record = verifier.first_record_previous()};
    if (broken)
      scanned.damage = broken;
    else if (scanned.damage)
      scanned.damage->with("file", facts.path_of(name.to_string()));
    if (!best || scanned.cut > best->cut || (scanned.cut == best->cut && best->damage))
      best = std::move(scanned);
  }
  return best;
}

namespace {

void Scanner::take(std::span<const std::byte> wal) {
  if (!damage_) damage_ = verifier_.feed(wal);
  // Page headers: of the first page, what goes on in it; behind the damage, whether WAL of this
  // segment is there. What a recycled file holds has other addresses.
  while (!wal.empty()) {
    const auto in_page = bytes_ % wal::kPageSize;
    if (in_page < wal::kShortHeaderSize) {
      if (in_page == 0) page_.clear();
      const auto count = std::min<std::size_t>(wal::kShortHeaderSize - in_page, wal.size());
      page_.insert(page_.end(), wal.begin(), wal.begin() + static_cast<std::ptrdiff_t>(count));
      bytes_ += count;
      wal = wal.subspan(count);
      if (page_.size() < wal::kShortHeaderSize) continue;
      const auto at = start_ + (bytes_ - wal::kShortHeaderSize);
      page_.resize(wal::kLongHeaderSize);  // the long part is of no interest
      const auto page = wal::decode_page_header(page_);
      if (!page || page->address != at) continue;
      if (at == start_ && page->first_is_continuation()) continued_ = page->remaining;
      if (damage_ && at > damage_->found_at && !wal_behind_) wal_behind_ = at;
    } else {
      const auto count = std::min<std::size_t>(wal::kPageSize - in_page, wal.size());
      bytes_ += count;
      wal = wal.subspan(count);
    }
  }
}

wal::Lsn Scanner::cut() const {
  if (verifier_.unchecked()) return start_ + bytes_;
  const auto cut = verifier_.last_record_end();
  if (cut.valid() || continued_ == 0) return cut;
  // Perhaps only the record that it begins in came to its end.
  const auto end = end_of_continued_record(start_, continued_);
  return end <= verifier_.position() ? end : cut;
}

std::optional<Error> Scanner::damage() const {
  if (!damage_ || !wal_behind_) return std::nullopt;
  return Error(ErrorKind::damage, "damaged WAL: " + damage_->what)
      .with("offset in the segment", size_.offset(damage_->found_at))
      .with("LSN", damage_->at)
      .with("more WAL behind it, from", *wal_behind_);
}

}  // namespace

}  // namespace weir::restore
