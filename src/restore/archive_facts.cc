#include "restore/archive_facts.h"

#include <algorithm>
#include <set>

#include "archive/forms.h"
#include "archive/losses.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "restore/history.h"

namespace weir::restore {

using archive::SegmentFileName;

Contradiction another_cluster(const std::string& directory, std::uint64_t expected,
                              const archive::Identity& found) {
  return Contradiction(ErrorKind::conflict, "the archive holds WAL of another cluster")
      .with("directory", directory)
      .with("system identifier expected", expected)
      .with("found", found.system_identifier)
      .with("read from", found.file)
      .hint("restore_command refers to the archive of another server.");
}

std::string ArchiveFacts::path_of(const std::string& name) const {
  const auto& directory = archive_.path();
  return directory.ends_with('/') ? directory + name : directory + "/" + name;
}

const archive::Listing& ArchiveFacts::listing() {
  if (!listing_) listing_ = archive::list_archive_names(archive_);
  return *listing_;
}

const std::optional<archive::Identity>& ArchiveFacts::identity() {
  if (!identity_) {
    identity_ = archive::read_identity(archive_, listing());
    const auto& found = *identity_;
    if (found && options_.system_identifier &&
        found->system_identifier != *options_.system_identifier)
      throw another_cluster(archive_.path(), *options_.system_identifier, *found);
  }
  return *identity_;
}

std::vector<KnownHole> read_known_holes(io::Shelf& archive, const archive::Listing& listing,
                                        wal::SegmentSize size) {
  auto holes = known_holes(listing, size);
  for (const auto& loss : archive::read_losses(archive, listing)) {
    if (loss.kind != archive::Loss::Kind::hole) continue;
    // An import may have filled its front or its end.
    const auto& missing = loss.missing;
    holes.push_back({loss.timeline, missing.empty() ? loss.begin : missing.front().begin,
                     loss.next_timeline, missing.empty() ? loss.end : missing.back().end});
  }
  return holes;
}

std::vector<KnownHole> ArchiveFacts::known_holes(wal::SegmentSize size) {
  return read_known_holes(archive_, listing(), size);
}

void ArchiveFacts::forget() {
  listing_.reset();
  identity_.reset();
}

std::optional<wal::TimelineHistory> ArchiveFacts::history_of(wal::TimelineId timeline) {
  if (timeline == 1) return wal::TimelineHistory(1);
  const auto content = read_history_file(archive_, timeline);
  if (!content) return std::nullopt;
  auto history = wal::TimelineHistory::parse(timeline, *content);
  if (!history)
    log_.warning("{} in the archive is not a valid timeline history", wal::history_name(timeline));
  return history;
}

bool ArchiveFacts::finished_form_exists(wal::SegmentName segment) {
  return archive::find_finished(archive_, segment).has_value();
}

bool ArchiveFacts::only_form(const SegmentFileName& name) {
  const auto names = archive::finished_names(name.segment);
  return std::none_of(names.begin(), names.end(), [&](const SegmentFileName& other) {
    return other != name && archive_.find(other.to_string());
  });
}

wal::SegmentSize ArchiveFacts::size_of(const SegmentFileName& name, const wal::PageHeader& page) {
  const auto path = path_of(name.to_string());
  const auto expected = options_.verify ? identifier_for(name, page) : 0;
  if (expected != 0 && page.system_identifier != expected)
    throw Error(ErrorKind::conflict, "WAL of another cluster")
        .with("file", path)
        .with("system identifier expected", expected)
        .with("found", page.system_identifier)
        .hint(
            "Check that this is the archive of the server that is being recovered. If all its "
            "other segments match, this file was put there by mistake, or is damaged.");
  const auto size = wal::SegmentSize::of(page.segment_size);
  if (!size)
    throw Error(ErrorKind::damage, "damaged WAL: invalid segment size in the first page header")
        .with("file", path)
        .with("found", page.segment_size);
  if (!name.segment.fits(*size))
    throw Error(ErrorKind::damage, "no segment has this name with this segment size")
        .with("file", path)
        .with("segment size", size->bytes());
  return *size;
}

/// 0 if unknown.
std::uint64_t ArchiveFacts::expected_system_identifier() {
  if (options_.system_identifier) return *options_.system_identifier;
  if (identifier_) return *identifier_;
  const auto& found = identity();
  return found ? found->system_identifier : 0;
}

/// The system identifier required of a segment with this first page. If no server provides it, two
/// other segments of the timeline are read, one far before this one and one far after it, and more
/// of them only if one of the three contradicts: reading the whole archive would take too long.
std::uint64_t ArchiveFacts::identifier_for(const SegmentFileName& name,
                                           const wal::PageHeader& page) {
  if (options_.system_identifier) return *options_.system_identifier;
  const auto witnesses = witnesses_for(name, page);
  Votes votes{page.system_identifier};
  for (const auto* side : {&witnesses.behind, &witnesses.before})
    if (!side->empty()) votes.count(identifier_in(side->back()));
  if (votes.other == 0) {
    if (votes.same > 0) return *(identifier_ = page.system_identifier);
    const auto& found = identity();
    return found ? found->system_identifier : 0;
  }

  votes = Votes{page.system_identifier};
  std::set<std::string> asked = {name.to_string()};
  for (const auto* side : {&witnesses.behind, &witnesses.before})
    for (const auto& witness : *side)
      if (asked.insert(witness.to_string()).second) votes.count(identifier_in(witness));
  const auto& found = identity();
  if (found && asked.insert(found->file).second) votes.count(found->system_identifier);
  // A single file that was added by mistake, this or another one, does not identify the archive.
  if (votes.other == 1 && votes.same > 2) return *(identifier_ = page.system_identifier);
  if (votes.same == 0 && votes.other > 1) return votes.other_identifier;
  throw Error(ErrorKind::conflict, "the archive holds WAL of two clusters")
      .with("file", path_of(name.to_string()))
      .with("system identifier", page.system_identifier)
      .with("that of other segments", votes.other_identifier)
      .hint(
          "Only a restore_command, which runs in a data directory, can determine which one is "
          "needed. Move the files of the other cluster away.");
}

void ArchiveFacts::Votes::count(std::optional<std::uint64_t> identifier) {
  if (!identifier) return;
  if (*identifier == own) {
    ++same;
  } else {
    ++other;
    other_identifier = *identifier;
  }
}

/// Found in steps that double, as far as there is no gap; the furthest one comes last.
ArchiveFacts::Witnesses ArchiveFacts::witnesses_for(const SegmentFileName& name,
                                                    const wal::PageHeader& page) {
  Witnesses witnesses;
  const auto size = wal::SegmentSize::of(page.segment_size);
  if (!size || !name.segment.fits(*size)) return witnesses;
  const auto segno = name.segment.segno(*size);
  const auto found_at = [&](std::uint64_t number) -> std::optional<SegmentFileName> {
    for (const auto& other :
         archive::finished_names(wal::SegmentName(name.segment.timeline(), number, *size))) {
      const auto entry = archive_.find(other.to_string());
      if (entry && entry->type == io::DirectoryEntry::Type::file && entry->size > 0) return other;
    }
    return std::nullopt;
  };
  constexpr std::uint64_t kFarthest = std::uint64_t{1} << 24;
  for (std::uint64_t step = 1; step <= kFarthest; step *= 2) {
    const auto other = found_at(segno + step);
    if (!other) break;
    witnesses.behind.push_back(*other);
  }
  for (std::uint64_t step = 1; step <= kFarthest && step <= segno; step *= 2) {
    const auto other = found_at(segno - step);
    if (!other) break;
    witnesses.before.push_back(*other);
  }
  return witnesses;
}

/// nullopt if it does not start with a readable page header.
std::optional<std::uint64_t> ArchiveFacts::identifier_in(const SegmentFileName& name) {
  try {
    const auto header = archive::read_first_page_header(archive_, name);
    if (header) return header->system_identifier;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::io) throw;
  }
  return std::nullopt;
}

}  // namespace weir::restore
