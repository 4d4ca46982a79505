#include "restore/published.h"

#include <algorithm>
#include <vector>

#include "archive/forms.h"
#include "archive/published_open.h"
#include "wal/lsn.h"

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

}  // namespace weir::restore
