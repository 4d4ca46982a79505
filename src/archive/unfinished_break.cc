// Partial WAL that breaks off is not taken for damage, nor for the end (`archive::Break`). If
// more WAL follows the first place that is not valid (`wal::UnfinishedReader`, as in `verify`), the
// files alone do not show why. After a power loss any page that was not synced may be missing, in
// several segments in a row, and nothing after the first of them was acknowledged; damage to
// acknowledged WAL looks the same. An end after that place, and an error for its readers, would
// keep clients from WAL that a receiver repairs at its start, and would announce what was never
// durable (P10). So the end is before it, `ArchiveLook` waits 5 seconds for a receiver to stream,
// and then `Hub::set_break()` gives those who want more an error (57P03, which a receiver below
// tries again).

#include "archive/unfinished_break.h"

#include <algorithm>
#include <span>
#include <utility>

#include "archive/border.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "wal/page.h"
#include "wal/record_verifier.h"
#include "wal/unfinished_reader.h"

namespace weir::archive {

namespace {

/// One file of a partial segment, read to its end.
struct ReadUnfinished {
  SegmentFileName name;
  wal::RecordVerifier verifier;
  std::optional<wal::Damage> damage;
  bool written_behind = false;
};

ReadUnfinished read_unfinished(io::Shelf& archive, const SegmentFileName& name,
                               wal::SegmentSize size, const wal::RecordVerifier& before) {
  ReadUnfinished read{name, before, std::nullopt};
  wal::UnfinishedReader reader(read.verifier, name.segment.start(size));
  try {
    read_segment(archive, name, size, [&](std::span<const std::byte> wal) {
      reader.take(wal);
      return true;
    });
  } catch (const Error& error) {
    // A compressed one ends where its stream breaks off.
    if (error.kind() != ErrorKind::damage) throw;
  }
  reader.finish();
  read.damage = reader.damage();
  read.written_behind = reader.written_behind();
  return read;
}

/// The file contains WAL of this very position.
bool has_begun(io::Shelf& archive, const SegmentForms& forms, wal::SegmentSize size) {
  return std::any_of(forms.partial.begin(), forms.partial.end(), [&](const auto& entry) {
    const auto page = read_first_page_header(archive, entry.name);
    return page && page->address == entry.name.segment.start(size) &&
           wal::major_version_of_magic(page->magic);
  });
}

std::span<const SegmentEntry> segments_from(const Listing& listing, wal::TimelineId timeline,
                                            wal::Lsn from, wal::SegmentSize size) {
  const auto before = [&](const SegmentEntry& entry) {
    const auto& segment = entry.name.segment;
    return segment.timeline() < timeline ||
           (segment.timeline() == timeline && segment.start(size) < from);
  };
  const auto& all = listing.segments;
  const auto begin = std::partition_point(all.begin(), all.end(), before);
  const auto end = std::partition_point(begin, all.end(), [&](const SegmentEntry& entry) {
    return entry.name.segment.timeline() == timeline;
  });
  return {begin, end};
}

/// A break at a missing segment.
Break missing(wal::TimelineId timeline, wal::Lsn start, wal::SegmentSize size) {
  return {wal::SegmentName(timeline, size.segno(start), size).to_string(), start, 0,
          "the segment is missing"};
}

}  // namespace

std::optional<Break> find_break(io::Shelf& archive, const Listing& listing,
                                wal::TimelineId timeline, wal::Lsn from, wal::SegmentSize size,
                                std::uint64_t most) {
  wal::RecordVerifier::Options options;
  options.segment_size = size;
  options.timeline = timeline;
  std::optional<wal::RecordVerifier> verifier;
  std::optional<ReadUnfinished> last;
  auto next = from;
  for (const auto& forms : EachSegmentForms(segments_from(listing, timeline, from, size))) {
    const auto segment = forms.segment();
    if (!segment.fits(size)) continue;
    if (!forms.finished.empty()) return std::nullopt;  // missing WAL before it is a hole
    if (last) {
      // Valid WAL of this one cannot be reached.
      if (!has_begun(archive, forms, size)) continue;
      last->written_behind = true;
      break;
    }
    if (segment.start(size) != next) {
      if (has_begun(archive, forms, size)) return missing(timeline, next, size);
      continue;
    }
    if (!verifier) verifier = verifier_at(archive, options, segment.start(size));
    next = segment.start(size) + size.bytes();
    // Each of several files may have been written last, so the one that reaches furthest counts.
    std::optional<ReadUnfinished> best;
    for (const auto& entry : forms.partial) {
      if (entry.bytes.value_or(size.bytes()) > most) return std::nullopt;
      most -= entry.bytes.value_or(size.bytes());
      auto read = read_unfinished(archive, entry.name, size, *verifier);
      if (read.verifier.unchecked()) return std::nullopt;
      if (!best || read.verifier.position() >= best->verifier.position()) best = std::move(read);
    }
    if (!best->damage && best->verifier.position() == next) {
      verifier = std::move(best->verifier);
      continue;
    }
    const bool written_behind = best->written_behind;
    last = std::move(best);
    if (written_behind) break;
  }
  if (!last || !last->written_behind) return std::nullopt;
  const auto at = last->verifier.position();
  const auto damage = last->damage.value_or(wal::Damage{at, at, "the file ends here"});
  return Break{last->name.to_string(), damage.at, size.offset(damage.found_at), damage.what};
}

}  // namespace weir::archive
