#include "restore/partial.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "archive/durable_end.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "restore/seam.h"
#include "wal/continued_record.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::restore {

using codec::Method;

namespace {

/// The valid part of a .partial. Zeros after the last record are its natural end, and so is a
/// compressed stream that is cut off; WAL after an invalid place is not.
class Scanner {
 public:
  Scanner(wal::RecordVerifier& verifier, wal::SegmentSize size, wal::Lsn start)
      : verifier_(verifier), size_(size), start_(start) {}

  void take(std::span<const std::byte> wal);
  /// End of the last complete record; 0/0 if there is none.
  [[nodiscard]] wal::Lsn cut() const;
  [[nodiscard]] bool sound_so_far() const { return !damage_; }
  /// Valid up to the segment's end.
  [[nodiscard]] bool complete() const { return !damage_ && bytes_ == size_.bytes(); }
  /// The error at its end, if WAL follows.
  [[nodiscard]] std::optional<Error> damage() const;
  /// The last page of this segment after its valid part.
  [[nodiscard]] wal::Lsn seen_to() const { return wal_to_; }
  [[nodiscard]] wal::Lsn damaged_at() const {
    return damage_ ? damage_->found_at : verifier_.position();
  }

 private:
  wal::RecordVerifier& verifier_;
  wal::SegmentSize size_;
  wal::Lsn start_;
  std::uint64_t bytes_ = 0;
  std::vector<std::byte> page_;  ///< header of the current page, as far as received
  std::uint32_t continued_ = 0;  ///< bytes of the record that continues at the segment's start
  std::optional<wal::Damage> damage_;
  std::optional<wal::Lsn> wal_behind_;  ///< first page of this segment after the damage
  wal::Lsn wal_to_;                     ///< and the last
};

Partial scan_settled(Archives& archives, const Copy& copy, wal::SegmentSize size,
                     const AskReceiver& durable_end);

}  // namespace

void wait_for_writer(io::Shelf& directory, const std::string& name) {
  using namespace std::chrono_literals;
  const auto entry = io::identity_of(directory, name);
  if (!entry) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::chrono::nanoseconds modified(entry->modified_ns);
  if (now - modified < 5s) std::this_thread::sleep_for(25ms);
}

std::optional<Partial> find_partial(Archives& archives, wal::SegmentName segment,
                                    wal::SegmentSize size, const AskReceiver& durable_end,
                                    std::vector<Partial>* others) {
  std::optional<Partial> best;
  archives.ask_each([&](std::size_t i) {
    for (const auto& name : archive::partial_names(segment)) {
      if (!archives.shelf(i).find(name.to_string())) continue;
      auto scanned = scan_settled(archives, {i, name}, size, durable_end);
      if (!best) {
        best = std::move(scanned);
        continue;
      }
      if (scanned.cut > best->cut || (scanned.cut == best->cut && best->damage))
        std::swap(*best, scanned);
      if (others != nullptr) others->push_back(std::move(scanned));
    }
  });
  return best;
}

namespace {

/// The first `settled` bytes do not change any more; a receiver may write after them.
Partial scan(Archives& archives, const Copy& copy, wal::SegmentSize size, std::uint64_t settled) {
  const auto& name = copy.name;
  auto& facts = archives.at(copy.archive);
  const auto segment = name.segment;
  const auto history = archives.history_of(segment.timeline());
  if (const auto page = archive::read_first_page_header(facts.directory(), name))
    static_cast<void>(facts.size_of(name, *page));
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = segment.timeline(),
                                .system_identifier = facts.expected_system_identifier(),
                                .history = history ? &*history : nullptr},
                               segment.start(size));
  Scanner scanner(verifier, size, segment.start(size));
  std::optional<Error> broken;
  std::optional<bool> settled_is_sound;
  try {
    auto left = settled;
    archive::read_segment_front(facts.directory(), name, size, [&](std::span<const std::byte> wal) {
      const auto first = wal.first(std::min<std::uint64_t>(left, wal.size()));
      scanner.take(first);
      left -= first.size();
      // (A record that ends after it is found to be incomplete at its start.)
      if (left > 0) return true;
      if (!settled_is_sound) settled_is_sound = scanner.sound_so_far();
      scanner.take(wal.subspan(first.size()));
      return true;
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    broken = error;
  }
  Partial scanned{.copy = copy,
                  .cut = scanner.cut(),
                  .complete = scanner.complete(),
                  .being_written = settled < size.bytes() && settled_is_sound.value_or(true) &&
                                   !scanner.complete(),
                  .damage = scanner.damage(),
                  .damaged_at = scanner.damaged_at(),
                  .seen_to = scanner.seen_to(),
                  .checked = !verifier.unchecked(),
                  .first_record = verifier.first_record_start(),
                  .previous_record = verifier.first_record_previous()};
  if (broken)
    scanned.damage = broken;
  else if (scanned.damage)
    scanned.damage->with("file", facts.path_of(name.to_string()));
  return scanned;
}

Partial scan_settled(Archives& archives, const Copy& copy, wal::SegmentSize size,
                     const AskReceiver& durable_end) {
  const auto& name = copy.name;
  auto& shelf = archives.shelf(copy.archive);
  const auto ask = [&]() -> std::optional<archive::DurableEnd> {
    if (name.method != Method::none || !durable_end) return std::nullopt;
    return durable_end(shelf.path());
  };
  const auto read = [&] {
    // Queried before the scan: WAL that is durable by then is in the file.
    auto found = scan(archives, copy, size, archive::settled_bytes(name.segment, size, ask()));
    if (!found.being_written) return found;
    // And after it: data written meanwhile may have been read in part.
    const auto told = ask();
    found.being_written = told && told->timeline == name.segment.timeline() &&
                          (!told->write.valid() || found.damaged_at < told->write);
    if (found.being_written) found.damage = std::nullopt;
    return found;
  };
  // While a segment is written past the page cache, readers may see old pages before new ones.
  constexpr int kSeenThere = 4;
  constexpr int kMostReadings = 100;
  auto found = read();
  int seen = 1;
  for (int reading = 1; found.damage && seen < kSeenThere && reading < kMostReadings; ++reading) {
    wait_for_writer(shelf, name.to_string());
    auto again = read();
    seen = again.damage && again.damaged_at == found.damaged_at ? seen + 1 : 1;
    found = std::move(again);
  }
  // It moved with each attempt: the file grows, and its valid part is all there is.
  if (seen < kSeenThere) found.damage = std::nullopt;
  return found;
}

}  // namespace

Partial look_into(Archives& archives, const Copy& copy, wal::SegmentSize size) {
  return scan(archives, copy, size, size.bytes());
}

std::optional<Partial> find_front(Archives& archives, wal::SegmentName segment,
                                  wal::SegmentSize size) {
  std::optional<Partial> best;
  archives.ask_each([&](std::size_t i) {
    for (const auto& name : archive::finished_names(segment)) {
      if (!archives.shelf(i).find(name.to_string())) continue;
      try {
        auto copy = look_into(archives, {i, name}, size);
        if (!best || copy.cut > best->cut) best = std::move(copy);
      } catch (const Error& unusable) {
        if (unusable.kind() != ErrorKind::damage) throw;  // in its first page
      }
    }
  });
  return best;
}

namespace {

void Scanner::take(std::span<const std::byte> wal) {
  if (!damage_) damage_ = verifier_.feed(wal);
  // Page headers: in the first page, the continued record; after the damage, whether WAL of this
  // segment follows. The old content of a recycled file has different addresses.
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
      if (!damage_ || at <= damage_->found_at) continue;
      if (!wal_behind_) wal_behind_ = at;
      wal_to_ = at;
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
  const auto end = wal::end_of_continued_record(start_, continued_);
  return end <= verifier_.position() ? end : cut;
}

std::optional<Error> Scanner::damage() const {
  if (!damage_ || !wal_behind_) return std::nullopt;
  return Error(ErrorKind::damage, "damaged WAL: " + damage_->what)
      .with("offset in the segment", size_.offset(damage_->found_at))
      .with("LSN", damage_->at)
      .with("more WAL after it, from", *wal_behind_);
}

}  // namespace

}  // namespace weir::restore
