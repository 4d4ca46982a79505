#include "store/send/keep_local.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "archive/forms.h"
#include "archive/kept_slots.h"
#include "archive/listing.h"

namespace weir::store {

std::vector<LocalSegments> local_segments(io::Shelf& archive, wal::SegmentSize size) {
  std::map<std::uint64_t, LocalSegments> numbers;
  for (const auto& entry : archive.list()) {
    const auto name = archive::SegmentFileName::parse(entry.name);
    if (!name || name->partial || !name->segment.fits(size) ||
        entry.type != io::DirectoryEntry::Type::file)
      continue;
    const auto segno = name->segment.segno(size);
    auto& number = numbers[segno];
    number.segno = segno;
    if (std::find(number.segments.begin(), number.segments.end(), name->segment) ==
        number.segments.end())
      number.segments.push_back(name->segment);
    number.bytes += entry.size;
    number.written = std::max(number.written, entry.modified);
  }
  std::vector<LocalSegments> all;
  all.reserve(numbers.size());
  for (auto& [segno, number] : numbers) {
    std::sort(number.segments.begin(), number.segments.end());
    all.push_back(std::move(number));
  }
  return all;
}

MayGo may_go(std::vector<LocalSegments> all, const KeepLocal& keep, const Mark& mark,
             std::optional<wal::Lsn> held_from, std::chrono::system_clock::time_point now) {
  std::uint64_t bytes = 0;
  std::optional<wal::SegmentName> newest;
  for (const auto& number : all) {
    bytes += number.bytes;
    for (const auto& segment : number.segments)
      if (!newest || *newest < segment) newest = segment;
  }
  MayGo result;
  for (auto& number : all) {
    const bool too_much = keep.bytes && bytes > *keep.bytes;
    const bool too_old = keep.age && number.written < now - *keep.age;
    if (!too_much && !too_old) break;
    for (const auto& segment : number.segments) {
      if (segment == newest) return result;  // there is always one to continue from
      if (!mark.has(segment)) {
        result.kept_for = fmt::format("{} is not in the store yet", segment);
        return result;
      }
    }
    result.kept_for = kept_for_slot(number.segno, held_from, mark.segment_size);
    if (!result.kept_for.empty()) return result;
    bytes -= number.bytes;
    result.numbers.push_back(std::move(number));
  }
  return result;
}

std::string kept_for_slot(std::uint64_t segno, std::optional<wal::Lsn> held_from,
                          wal::SegmentSize size) {
  if (!held_from || segno < size.segno(*held_from)) return "";
  return fmt::format("a replication slot of the relay needs WAL from {} on", *held_from);
}

std::optional<wal::Lsn> held_by_slots(io::Shelf& archive) {
  std::optional<wal::Lsn> held;
  const auto slots = archive::read_slots(archive);
  if (!slots) return held;
  for (const auto& slot : slots->slots) {
    if (slot.lost || slot.restart_lsn == wal::Lsn()) continue;
    if (!held || slot.restart_lsn < *held) held = slot.restart_lsn;
  }
  return held;
}

bool remove_local(io::Directory& archive, const LocalSegments& number,
                  const std::function<bool(wal::SegmentName)>& surely_stored) {
  for (const auto& segment : number.segments)
    if (!surely_stored(segment)) return false;
  // As prune does: the raw form first, since a running compressor checks for it right before it
  // publishes another form.
  for (const auto& segment : number.segments)
    for (const auto& form : archive::finished_names(segment)) archive.remove(form.to_string());
  // Names removed in one go may come back or stay away each on its own.
  archive.sync();
  return true;
}

}  // namespace weir::store
