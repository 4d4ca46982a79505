#include "relay/archive_end.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include "archive/border.h"
#include "archive/find_losses.h"
#include "archive/forms.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/look_again.h"
#include "archive/resume.h"
#include "archive/segment_reader.h"
#include "archive/served_start.h"
#include "archive/unfinished_break.h"
#include "archive/wal_reader.h"
#include "base/error.h"
#include "wal/page.h"

namespace weir::relay {

namespace {

/// A timeline on which the end was searched, from a segment's first byte on.
struct LookedAt {
  wal::TimelineId timeline = 0;
  wal::Lsn from;
};

/// The files of a timeline with the WAL before `end`: those that were read to find it, and the
/// complete one before them.
void make_durable(io::Directory& archive, const archive::Listing& listing, const LookedAt& looked,
                  wal::Lsn end, wal::SegmentSize size, Counts counts) {
  std::vector<wal::SegmentName> finished;
  std::optional<wal::SegmentName> newest;  // of all timelines: that is make_end_durable()'s
  for (const auto& entry : listing.segments) {
    const auto& segment = entry.name.segment;
    if (!entry.name.partial) newest = segment;
    if (segment.timeline() != looked.timeline || !segment.fits(size)) continue;
    const auto start = segment.start(size);
    if (!entry.name.partial) {
      if (start < looked.from) finished.clear();
      if (start < end && (finished.empty() || finished.back() != segment))
        finished.push_back(segment);
    } else if (counts == Counts::everything && start >= looked.from) {
      archive::sync_unfinished(archive, entry.name);
    }
  }
  for (const auto& segment : finished)
    if (segment != newest) archive::sync_finished(archive, segment);
}

/// A program that copies it into the archive writes to it again within this time.
constexpr std::chrono::seconds kStillCopied(60);

bool was_just_written(io::Directory& archive, wal::SegmentName segment) {
  const auto forms = archive::finished_names(segment);
  return std::any_of(forms.begin(), forms.end(), [&](const auto& form) {
    const auto entry = archive.find(form.to_string());
    if (!entry) return false;
    // (A time in the future is that of another clock.)
    const auto age = std::chrono::system_clock::now() - entry->modified;
    return age < kStillCopied && age > -kStillCopied;
  });
}

std::optional<FoundEnd> look(io::Directory& archive, wal::SegmentSize size, Counts counts,
                             const std::optional<wal::SegmentName>& durable_before) {
  auto listing = archive::list_archive(archive);
  auto begin = archive::find_served_start(archive, listing, size);
  bool being_copied = false;
  while (begin && begin->damaged && was_just_written(archive, *begin->damaged)) {
    // It may be valid soon, and nothing of it has been synced then. (With a slow archive_command,
    // there is always one: the WAL before it counts meanwhile.)
    being_copied = true;
    const auto copied = *begin->damaged;
    std::erase_if(listing.segments, [&](const archive::SegmentEntry& entry) {
      const auto& segment = entry.name.segment;
      if (!entry.name.partial) return segment == copied;
      return segment.timeline() == copied.timeline() && segment > copied;  // after the gap
    });
    begin = archive::find_served_start(archive, listing, size);
  }
  const bool counts_nothing =
      !begin || (counts == Counts::finished &&
                 std::all_of(listing.segments.begin(), listing.segments.end(),
                             [](const auto& entry) { return entry.name.partial; }));
  if (counts_nothing && being_copied)
    throw Error(ErrorKind::retry, "the only complete segment is not valid, and was just written")
        .with("directory", archive.path())
        .hint(
            "Another program may be copying it into the archive. If it does not change for a "
            "minute, it is considered damaged.");
  if (counts_nothing) return std::nullopt;
  std::optional<archive::Break> broken;
  const auto look_for_break = [&](wal::TimelineId timeline, wal::Lsn from,
                                  std::optional<wal::Lsn> upto) {
    if (counts == Counts::finished || broken) return;
    if (being_copied) return;  // it may be missing only before a partial one
    auto found = archive::find_break(archive, listing, timeline, from, size);
    if (found && (!upto || found->at < *upto)) broken = std::move(found);
  };
  // A segment's first byte: everything before it is complete. (If the history leaves a timeline,
  // the segment from there on may be, too: it was archived beyond the switchpoint.)
  const auto is_finished = [&](wal::TimelineId timeline, wal::Lsn from) {
    const wal::SegmentName segment(timeline, size.segno(from), size);
    return std::any_of(listing.segments.begin(), listing.segments.end(),
                       [&](const archive::SegmentEntry& entry) {
                         return !entry.name.partial && entry.name.segment == segment;
                       });
  };
  const auto end_of = [&](wal::TimelineId timeline, wal::Lsn from) {
    if (counts == Counts::finished && !is_finished(timeline, from)) return from;
    return archive::sound_end(archive, listing, timeline, from, size);
  };
  const auto history = history_of(archive, begin->timeline);
  if (!history)
    throw Error(ErrorKind::damage, "a timeline's history file is broken")
        .with("file", wal::history_name(begin->timeline));
  std::vector<LookedAt> looked = {{begin->timeline, begin->start}};
  Served served{*history, end_of(begin->timeline, begin->start)};
  // All of a complete segment counts, also the front of a record that continues after it: a client
  // that has the segment waits there for more.
  if (!begin->damaged) served.end = std::max(served.end, begin->start);
  look_for_break(begin->timeline, begin->start, std::nullopt);
  // A receiver starts a new timeline at a segment's first byte, before the timeline's switchpoint.
  while (!served.history.ancestors().empty() &&
         served.end <= *served.history.begin_of(served.timeline())) {
    const auto parent = served.history.ancestors().back();
    looked.push_back({parent.timeline, size.start_of(parent.switchpoint)});
    const auto end = end_of(parent.timeline, looked.back().from);
    look_for_break(parent.timeline, looked.back().from, parent.switchpoint);
    // WAL after the switchpoint is not part of the cluster's history any more. (A receiver that
    // reached a timeline via others on which it archived nothing does not have their histories.)
    served = {served.history.of_parent(), std::min(end, parent.switchpoint)};
  }
  archive::sync_copies(archive, listing, durable_before, std::chrono::system_clock::now());
  for (const auto& each : looked) make_durable(archive, listing, each, served.end, size, counts);
  archive::make_end_durable(archive, listing);  // and the names
  return FoundEnd{std::move(served), std::move(broken), begin->damage, being_copied};
}

}  // namespace

std::optional<Cluster> find_cluster(io::Directory& archive) {
  const auto listing = archive::list_archive(archive);
  const auto identity = archive::read_identity(archive, listing);
  if (!identity) return std::nullopt;
  Cluster cluster{identity->system_identifier, identity->segment_size, 0};
  const auto name = archive::SegmentFileName::parse(identity->file);
  PGWEIR_CHECK(name.has_value());  // it was found among the segments
  archive::WalReader reader(archive, {.segment_size = cluster.segment_size,
                                      .timeline = name->segment.timeline(),
                                      .unfinished = true});
  std::array<std::byte, wal::kLongHeaderSize> bytes{};
  const auto read = reader.read(name->segment.start(cluster.segment_size), bytes);
  auto header = wal::decode_page_header(std::span(bytes).first(read.count));
  if (!header) header = archive::read_first_page_header(archive, *name);  // it is not complete
  const auto major = header ? wal::major_version_of_magic(header->magic) : std::nullopt;
  if (!major)
    throw Error(ErrorKind::refused, "the archive's WAL is of an unknown PostgreSQL version")
        .with("file", identity->file)
        .hint("A newer pgweir may support it.");
  cluster.major = *major;
  return cluster;
}

std::optional<FoundEnd> find_served(io::Directory& archive, wal::SegmentSize size, Counts counts,
                                    const std::optional<wal::SegmentName>& durable_before) {
  return archive::look_again(archive::kMostLooksAtArchive,
                             [&] { return look(archive, size, counts, durable_before); });
}

std::optional<wal::TimelineHistory> history_of(io::Shelf& archive, wal::TimelineId timeline) {
  const auto content = archive::read_history(archive, timeline);
  if (!content) return wal::TimelineHistory(timeline);
  return wal::TimelineHistory::parse(timeline, *content);
}

}  // namespace weir::relay
