#include "restore/partial.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <thread>

#include "archive/durable_end.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "restore/seam.h"
#include "wal/continued_record.h"
#include "wal/record_verifier.h"
#include "wal/unfinished_reader.h"

namespace weir::restore {

using codec::Method;

namespace {

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
  const auto start = segment.start(size);
  const auto history = archives.history_of(segment.timeline());
  if (const auto page = archive::read_first_page_header(facts.directory(), name))
    static_cast<void>(facts.size_of(name, *page));
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = segment.timeline(),
                                .system_identifier = facts.expected_system_identifier(),
                                .history = history ? &*history : nullptr},
                               start);
  wal::UnfinishedReader reader(verifier, start);
  std::optional<Error> broken;
  std::optional<bool> settled_is_sound;
  try {
    auto left = settled;
    archive::read_segment_front(facts.directory(), name, size, [&](std::span<const std::byte> wal) {
      const auto first = wal.first(std::min<std::uint64_t>(left, wal.size()));
      reader.take(first);
      left -= first.size();
      // (A record that ends after it is found to be incomplete at its start.)
      if (left > 0) return true;
      if (!settled_is_sound) settled_is_sound = !reader.damage();
      reader.take(wal.subspan(first.size()));
      return true;
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    broken = error;
  }
  reader.finish();
  const auto& damage = reader.damage();
  const bool complete = !damage && reader.given() == size.bytes();
  // Confirmed WAL is damaged, whatever follows it.
  const bool is_written = settled < size.bytes();
  const auto written_to = is_written && settled_is_sound == false
                              ? std::max(reader.written_to(), start + settled)
                              : reader.written_to();
  Partial scanned{.copy = copy,
                  .cut = verifier.unchecked() ? start + reader.given()
                                              : wal::last_record_end_in_segment(
                                                    verifier, start, reader.first_page()),
                  .complete = complete,
                  .being_written = is_written && settled_is_sound.value_or(true) && !complete,
                  .damage = broken,
                  .damaged_at = damage ? damage->found_at : verifier.position(),
                  .written_to = written_to,
                  .checked = !verifier.unchecked(),
                  .first_record = verifier.first_record_start(),
                  .previous_record = verifier.first_record_previous()};
  if (!broken && damage && written_to.valid())
    scanned.damage = Error(ErrorKind::damage, "damaged WAL: " + damage->what)
                         .with("offset in the segment", size.offset(damage->found_at))
                         .with("LSN", damage->at)
                         .with("WAL was written at least up to", written_to)
                         .with("file", facts.path_of(name.to_string()));
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

}  // namespace weir::restore
