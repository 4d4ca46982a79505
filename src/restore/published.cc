#include "restore/published.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>
#include <vector>

#include "archive/forms.h"
#include "archive/listing.h"
#include "archive/published_open.h"
#include "archive/timelines.h"
#include "restore/archive_facts.h"
#include "store/shelf/near_shelf.h"

namespace weir::restore {

std::optional<Partial> find_published(Archives& archives, wal::SegmentName segment) {
  std::vector<wal::Lsn> ends;
  archives.ask_each([&](std::size_t i) {
    if (const auto record = archive::published_open_of(archives.shelf(i), segment))
      ends.push_back(record->end);
  });
  if (ends.empty()) return std::nullopt;
  const auto identity = archives.identity();
  if (!identity || !segment.fits(identity->segment_size)) return std::nullopt;
  const auto& size = identity->segment_size;
  std::optional<Partial> found;
  archives.ask_each([&](std::size_t i) {
    for (const auto& name : archive::finished_names(segment)) {
      if (found || !archives.shelf(i).find(name.to_string())) continue;
      auto copy = look_into(archives, {i, name}, size);
      if (!copy.damage && copy.checked && copy.cut > segment.start(size) &&
          std::find(ends.begin(), ends.end(), copy.cut) != ends.end() &&
          archive::has_zeros_behind(archives.shelf(i), name, size, copy.cut))
        found = std::move(copy);
    }
  });
  return found;
}

std::optional<Gap> wal_after_published(store::NearShelf& stored, wal::SegmentName segment,
                                       wal::SegmentSize size) {
  stored.look_around(segment);
  const auto listing = archive::list_archive(stored);
  const auto timelines = archive::Timelines::read(stored, listing);
  const auto holes = read_known_holes(stored, listing, size);
  const auto absence = judge_absent_segment(segment, listing, timelines, size, holes);
  if (const auto* const gap = std::get_if<Gap>(&absence)) return *gap;
  auto told = stored.told();
  std::erase_if(told.segments, [&](const auto& entry) { return entry.name.segment == segment; });
  return told_of(segment, told, timelines, size, holes);
}

Error not_the_last(const std::string& name, const Gap& gap, wal::Lsn sound_to) {
  return Error(ErrorKind::damage,
               fmt::format("{} was published unfinished, but is not the last one: {}", name,
                           gap.what))
      .with("sound up to", sound_to)
      .hint(
          "A recovery would end there. Upload the complete segment: \"pgweir store push\" replaces "
          "the padded one with it.");
}

}  // namespace weir::restore
