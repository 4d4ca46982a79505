#include "status/store_side.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "archive/forms.h"
#include "archive/other_forms.h"
#include "base/units.h"
#include "store/ledger/mark.h"

namespace weir::status {

namespace {

void add_ends(StoreSide& side, const archive::Listing& there) {
  for (const auto& forms : archive::segment_forms(there)) {
    const auto segment = forms.segment();
    if (forms.finished.empty()) {
      side.open.push_back(forms.best().name.to_string());
      continue;
    }
    if (side.ends.empty() || side.ends.back().timeline != segment.timeline())
      side.ends.push_back({segment.timeline(), segment.to_string(), {}});
    auto& end = side.ends.back();
    end.last = segment.to_string();
    ++end.segments;
    for (const auto& form : forms.finished) end.bytes += form.bytes.value_or(0);
  }
}

void add_pending(StoreSide& side, io::Shelf& directory, const std::string& identity,
                 const archive::Listing& there, std::chrono::system_clock::time_point now) {
  std::set<wal::SegmentName> segments;
  for (const auto& entry : there.segments)
    if (!entry.name.partial) segments.insert(entry.name.segment);
  const auto mark = store::read_mark(directory);
  // Uploaded segments that precede all segments in the store were pruned, as for store::Audit,
  // unless it was emptied.
  const auto pruned = [&](wal::SegmentName segment) {
    if (!mark || mark->store != identity || mark->emptied || segments.empty() ||
        !mark->has(segment))
      return false;
    const auto& front = *segments.begin();
    const auto& size = mark->segment_size;
    return segment < front || segment.segno(size) < front.segno(size);
  };
  std::set<wal::TimelineId> histories;
  for (const auto& entry : there.histories) histories.insert(entry.timeline);
  const auto here = archive::list_archive(directory);
  for (const auto& forms : archive::segment_forms(here)) {
    if (forms.finished.empty() || segments.contains(forms.segment()) || pruned(forms.segment()))
      continue;
    const auto& file = forms.best();
    ++side.pending_segments;
    side.pending_bytes += file.bytes.value_or(0);
    // In the order in which they are uploaded on their timeline; the oldest of all is reported.
    const auto entry = directory.find(file.name.to_string());
    if (!entry) continue;
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(now - entry->modified);
    if (side.oldest_pending_age && age <= *side.oldest_pending_age) continue;
    side.oldest_pending_age = std::max(age, std::chrono::seconds(0));
    side.oldest_pending = file.name.to_string();
  }
  for (const auto& entry : here.histories)
    if (!histories.contains(entry.timeline)) ++side.pending_histories;
}

std::optional<std::chrono::seconds> newest_age(io::Shelf& stored,
                                               std::chrono::system_clock::time_point now) {
  using Time = std::chrono::system_clock::time_point;
  Time newest;
  for (const auto& entry : stored.list())
    if ((archive::SegmentFileName::parse(entry.name) || archive::parse_other_form(entry.name)) &&
        entry.modified != Time::max())
      newest = std::max(newest, entry.modified);
  if (newest == Time()) return std::nullopt;
  return std::max(std::chrono::duration_cast<std::chrono::seconds>(now - newest),
                  std::chrono::seconds(0));
}

}  // namespace

StoreSide look_at_store(io::Shelf* directory, io::Shelf& stored, const std::string& identity,
                        std::chrono::system_clock::time_point now) {
  StoreSide side{.place = stored.path()};
  archive::Listing there;
  try {
    there = archive::list_archive(stored);
    if (directory == nullptr) side.newest_age = newest_age(stored, now);
  } catch (const store::StoreError& error) {
    return no_store_side(side.place, error);
  }
  add_ends(side, there);
  if (directory != nullptr) add_pending(side, *directory, identity, there, now);
  return side;
}

StoreSide no_store_side(const std::string& place, const store::StoreError& error) {
  return {.place = place, .error = error.what(), .hint = error.hint(), .error_kind = error.kind()};
}

std::string frozen_text(const store::ManifestReport& manifest) {
  return fmt::format(
      "{} in an archive class or tier of the store, the first of them {}: a recovery stops at each "
      "one until it is restored in the store",
      manifest.frozen == 1 ? "1 object is" : fmt::format("{} objects are", manifest.frozen),
      manifest.first_frozen);
}

std::string store_text(const StoreSide& side) {
  auto text = fmt::format("Store {}: ", side.place);
  if (!side.error.empty()) {
    text += "cannot be read\n  " + side.error + "\n";
    if (!side.hint.empty()) text += "  " + side.hint + "\n";
    return text;
  }
  text += side.ends.empty() ? "no WAL found\n" : "\n";
  for (const auto& end : side.ends)
    text +=
        fmt::format("  timeline {}: {}, {}, {} to {}\n", end.timeline,
                    counted(end.segments, "segment"), format_size(end.bytes), end.first, end.last);
  if (side.manifest) {
    for (const auto& line : side.manifest->coverage)
      text += fmt::format("  timeline {}: {} to {} by the manifests{}\n", line.timeline, line.from,
                          line.to, line.commit ? ", last commit " + line.commit->to_string() : "");
    for (const auto& chain : side.manifest->chains)
      text += fmt::format(
          "  manifest {}: {}, {}; head {}\n", chain.id, counted(chain.lines, "line"),
          chain.signed_by.empty() ? "not signed" : "signed by key " + chain.signed_by, chain.head);
    if (side.manifest->not_compared > 0)
      text += fmt::format("  {} segments are present, not compared\n", side.manifest->not_compared);
    for (const auto& finding : side.manifest->findings) text += "  WARNING: " + finding + "\n";
    if (side.manifest->frozen > 0) text += "  WARNING: " + frozen_text(*side.manifest) + "\n";
  }
  for (const auto& name : side.open) text += fmt::format("  open: {}\n", name);
  if (side.pending_segments > 0)
    text += fmt::format("  {} ({}) behind, from {} on, {} old\n",
                        counted(side.pending_segments, "segment"), format_size(side.pending_bytes),
                        side.oldest_pending,
                        format_duration(side.oldest_pending_age.value_or(std::chrono::seconds(0))));
  if (side.pending_histories > 0)
    text += fmt::format("  {} histor{} behind\n", side.pending_histories,
                        side.pending_histories == 1 ? "y" : "ies");
  return text;
}

}  // namespace weir::status
