#include "receive/inspection.h"

#include <algorithm>
#include <span>
#include <utility>

#include "archive/find_losses.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/resume.h"
#include "archive/sizes.h"
#include "archive/timelines.h"
#include "archive/wal_reader.h"

namespace weir::receive {

namespace {

/// More in such quick succession occur in tests only.
std::vector<wal::TimelineId> newest_timelines(const wal::TimelineHistory& history) {
  constexpr std::size_t kMost = 3;
  std::vector<wal::TimelineId> timelines;
  for (const auto& ancestor : history.ancestors()) timelines.push_back(ancestor.timeline);
  timelines.push_back(history.timeline());
  if (timelines.size() > kMost) timelines.erase(timelines.begin(), timelines.end() - kMost);
  return timelines;
}

}  // namespace

/// A file may change its form while it is read, since segments are compressed in the background. A
/// failure based on an outdated listing means nothing.
template <typename Look>
auto Inspection::on_one_listing(Look look) {
  for (bool once_more = true;;) {
    const auto listing = list();
    try {
      return look(listing);
    } catch (const Error& error) {
      // A failed sync is never retried, regardless of changes (P6).
      if (error.kind() == ErrorKind::durability) throw;
      const auto same_name = [](const auto& a, const auto& b) { return a.name == b.name; };
      const auto& before = listing->segments;
      const auto after = archive::list_archive_names(directory_).segments;
      if (std::equal(before.begin(), before.end(), after.begin(), after.end(), same_name)) {
        const auto change = error.kind() == ErrorKind::damage ? change_of_newest(*listing)
                                                              : archive::RecentChange();
        if (change.ends_early)
          throw Error(ErrorKind::retry, "the newest complete segment is still being copied")
              .with("directory", directory_.path())
              .hint("Another program has just written to it, and it is not complete yet.");
        if (!change.changed || !std::exchange(once_more, false)) throw;
      }
      names_.forget();
    }
  }
}

/// "cp" writes to the final name.
archive::RecentChange Inspection::change_of_newest(const archive::Listing& listing) {
  const auto newest = std::find_if(listing.segments.rbegin(), listing.segments.rend(),
                                   [](const auto& entry) { return !entry.name.partial; });
  if (newest == listing.segments.rend()) return {};
  try {
    const auto identity = archive::read_identity(directory_, listing);
    if (!identity) return {};
    return archive::find_recent_change(directory_, newest->name.segment, identity->segment_size,
                                       machine_.wall_clock());
  } catch (const Error&) {
    return {};  // the first error is reported
  }
}

Inspection::Result Inspection::run(std::uint64_t system_identifier, wal::SegmentSize segment_size) {
  auto result = on_one_listing([&](std::shared_ptr<const archive::Listing> listing) {
    if (habits_.replaces_wrong_sizes()) {
      auto sound = std::make_shared<archive::Listing>(*listing);
      skip_wrong_sizes(*sound, segment_size);
      listing = std::move(sound);
    }
    auto facts = inspect(system_identifier, segment_size, *listing);
    return Result{std::move(facts), std::move(listing)};
  });
  forget_names();
  return result;
}

std::optional<ArchivedSoFar> Inspection::so_far() {
  return on_one_listing([&](const auto& names) -> std::optional<ArchivedSoFar> {
    const auto& listing = *names;
    const auto identity = archive::read_identity(directory_, listing);
    if (!identity) return std::nullopt;
    const auto resume = archive::find_resume_point(directory_, listing, identity->segment_size);
    if (!resume) return std::nullopt;
    ArchivedSoFar archive{.system_identifier = identity->system_identifier,
                          .segment_size = identity->segment_size,
                          .end = {.timeline = resume->timeline,
                                  .start = resume->start,
                                  .sound_end = resume->sound_end},
                          .position = resume->start};
    if (const auto content = archive::read_history(directory_, resume->timeline))
      archive.end.history = wal::TimelineHistory::parse(resume->timeline, *content);
    archive.first_wal = first_wal(archive.end, *resume, archive.segment_size);
    return archive;
  });
}

/// The start of its newest timeline, if no segment of that is finished.
std::string Inspection::first_wal(const StartFacts::ArchiveEnd& end,
                                  const archive::ResumePoint& resume,
                                  wal::SegmentSize segment_size) {
  const auto begin = end.history ? end.history->begin_of(end.timeline) : std::nullopt;
  if (!begin || !begin->valid() || resume.start > *begin || resume.open.empty()) return {};
  const auto have = resume.open.front().trusted_end;
  if (have <= *begin) return {};
  std::string bytes(std::min<std::uint64_t>(kFirstWalBytes, have - *begin), '\0');
  archive::WalReader reader(directory_, {.segment_size = segment_size,
                                         .timeline = end.timeline,
                                         .history = end.history,
                                         .unfinished = true});
  const auto read = reader.read(*begin, std::as_writable_bytes(std::span(bytes)));
  bytes.resize(read.state == archive::WalSource::State::bytes ? read.count : 0);
  return bytes;
}

std::map<wal::TimelineId, std::string> Inspection::first_wal_before(
    const wal::TimelineHistory& history, wal::Lsn end, wal::SegmentSize segment_size) {
  std::map<wal::TimelineId, std::string> found;
  for (const auto timeline : newest_timelines(history)) {
    const auto begin = *history.begin_of(timeline);
    const auto until = std::min(end, history.end_of(timeline).value_or(end));
    if (!begin.valid() || until <= begin) continue;
    std::string bytes(std::min<std::uint64_t>(kFirstWalBytes, until - begin), '\0');
    try {
      archive::WalReader reader(
          directory_, {.segment_size = segment_size, .timeline = timeline, .unfinished = true});
      const auto read = reader.read(begin, std::as_writable_bytes(std::span(bytes)));
      if (read.state != archive::WalSource::State::bytes) continue;
      bytes.resize(read.count);
      found[timeline] = std::move(bytes);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) throw;
      log_.debug("the start of timeline {} could not be read: {}", timeline, error.what());
    }
  }
  return found;
}

/// (Finding the last record's end requires reading a segment: so only if it matters.)
void Inspection::find_position(ArchivedSoFar& archive, const std::vector<HostWord>& hosts) {
  const bool matters = std::any_of(hosts.begin(), hosts.end(), [&](const HostWord& host) {
    return !host.failure && host.history && host.history->end_of(archive.end.timeline);
  });
  if (!matters) return;
  archive.position = on_one_listing([&](const auto& listing) {
    return archive::sound_end(directory_, *listing, archive.end.timeline, archive.end.start,
                              archive.segment_size);
  });
}

/// Names only, if they suffice: getting the size of each of 100,000 files takes longer than
/// everything else.
std::shared_ptr<const archive::Listing> Inspection::list() {
  if (!habits_.replaces_wrong_sizes()) return names_.read();
  return std::make_shared<archive::Listing>(archive::list_archive(directory_));
}

ArchiveFacts Inspection::inspect(std::uint64_t system_identifier, wal::SegmentSize segment_size,
                                 const archive::Listing& listing) {
  if (!listing.foreign.empty() && !told_foreign_) {
    told_foreign_ = true;
    // The root directory of a file system contains this one.
    auto foreign = listing.foreign;
    std::erase(foreign, "lost+found");
    if (!foreign.empty())
      log_.warning("the archive directory contains {} other file(s), which are ignored: {}{}",
                   foreign.size(), foreign.front(), foreign.size() > 1 ? ", …" : "");
  }
  if (const auto identity = archive::read_identity(directory_, listing))
    archive::require_same_cluster(*identity, system_identifier, segment_size, directory_.path());
  if (archive::rewrite_unsynced_end(directory_, listing))
    log_.warning(
        "an earlier receiver could not confirm the flush of the newest complete segment: the "
        "segment was written again and flushed");
  ArchiveFacts facts;
  facts.resume = archive::find_resume_point(directory_, listing, segment_size);
  for (const auto& history : listing.histories)
    if (auto content = archive::read_history(directory_, history.timeline))
      facts.histories.emplace(history.timeline, std::move(*content));
  archive::sync_copies(directory_, listing, durable_before_, machine_.wall_clock());
  // Before losses are closed, which syncs segments, too: if the sync of the newest one fails, the
  // next start must know.
  if (facts.resume)
    archive::make_end_durable(directory_, listing, *facts.resume, segment_size);
  else
    archive::make_end_durable(directory_, listing);
  close_losses(&listing);
  find_losses(listing, segment_size, facts);
  return facts;
}

void Inspection::skip_wrong_sizes(archive::Listing& listing, wal::SegmentSize segment_size) {
  for (const auto& wrong : archive::skip_wrong_sizes(directory_, listing, segment_size)) {
    const bool raw = wrong.name.method == codec::Method::none;
    log_.warning("{} \"{}\" has incorrect {} {}, skipping",
                 raw ? "segment file" : "compressed segment file", wrong.name.to_string(),
                 raw ? "size" : "uncompressed size", wrong.bytes);
    wrong_sizes_.insert(wrong.name.to_string());
  }
}

/// Failure to remove one does not stop archiving; the next start finds it again.
void Inspection::close_losses(const archive::Listing* listing) {
  try {
    std::optional<archive::Listing> read;
    if (listing == nullptr) listing = &read.emplace(archive::list_archive_names(directory_));
    for (const auto& id : archive::close_losses(directory_, *listing))
      log_.info("the loss {} is closed: its WAL was archived, or the archive starts after it", id);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    log_.warning("the record of a loss that is closed could not be removed: {}", error.what());
  }
}

/// Recorded losses, and those not yet recorded. A disk may fail for a moment. A longer failure is
/// reported, but does not stop archiving: losses known before still count.
void Inspection::find_losses(const archive::Listing& listing, wal::SegmentSize segment_size,
                             ArchiveFacts& facts) {
  constexpr int kTries = 3;
  for (int tries = 1;; ++tries) {
    try {
      read_losses(listing, segment_size, facts);
      return;
    } catch (const Error& error) {
      if (tries < kTries) continue;
      log_.warning("could not determine which WAL the archive has lost: {}", error.what());
      return;
    }
  }
}

void Inspection::read_losses(const archive::Listing& listing, wal::SegmentSize segment_size,
                             ArchiveFacts& facts) {
  facts.losses_known = false;
  facts.losses = archive::read_losses(directory_, listing);
  facts.losses_known = true;
  if (!facts.resume) return;
  const auto timelines = archive::Timelines::read(directory_, listing);
  // Leftovers of past timelines do not change, and reading them takes time.
  if (past_timelines_recorded_) {
    facts.found = archive::find_holes(listing, timelines, segment_size, facts.losses);
  } else {
    past_timelines_read_ = false;
    facts.found =
        archive::find_unrecorded_losses(directory_, listing, timelines, segment_size, facts.losses);
    past_timelines_read_ = true;
  }
  // (WAL that the server no longer has is recorded when that is accepted.)
  std::erase_if(facts.found, [&](const archive::Loss& loss) {
    return archive::is_asked_for_at_a_start(loss, listing, segment_size, facts.losses);
  });
}

}  // namespace weir::receive
