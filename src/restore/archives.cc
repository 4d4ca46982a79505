// `restore` treats several archives as one: a copy of a segment is an archive and a form in it, and
// the handling of two forms applies to two copies. Listings are evaluated archive by archive, with
// the histories and holes of all: proof of a gap in one archive holds for all, while consecutive
// partial segments are normal only within one receiver's archive. Each archive is read by its own
// thread (`io/bounded_shelf`), the only way to abandon a file system that hangs. A single archive
// is not.

#include "restore/archives.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>

#include "archive/losses.h"
#include "archive/own_names.h"
#include "restore/history.h"
#include "restore/target.h"
#include "store/object_store.h"
#include "store/shelf/near_shelf.h"

namespace weir::restore {

namespace {

Error no_wal_in(const std::string& directory, bool store, std::string_view if_empty_is_right) {
  if (store)
    return Error(ErrorKind::gap, "there is no WAL at all at this location of the store")
        .with("archive", directory)
        .hint(
            "Check --store, --store-layout and --store-name (with the right ones, \"pgweir "
            "store ls\" lists segments)." +
            std::string(if_empty_is_right));
  return Error(ErrorKind::gap, "there is no WAL at all in the archive directory")
      .with("directory", directory)
      .hint("Check that the file system is mounted, and that it is the right directory." +
            std::string(if_empty_is_right));
}

}  // namespace

Archives::Archives(Shelves shelves, const Options& options, Log& log) : options_(options) {
  members_.reserve(shelves.size());
  for (auto* const shelf : shelves) members_.push_back({ArchiveFacts(*shelf, options, log)});
}

std::string Archives::paths() const {
  std::string paths;
  for (const auto& member : members_)
    paths += (paths.empty() ? "" : ", ") + member.facts.directory().path();
  return paths;
}

bool Archives::is_silence(const Error& error) {
  if (dynamic_cast<const TargetError*>(&error) != nullptr) return false;
  if (dynamic_cast<const store::StoreError*>(&error) != nullptr) return true;
  switch (error.kind()) {
    case ErrorKind::io:
      return error.system_code() != ENOENT;  // a removed file: another look-up decides
    case ErrorKind::retry:
    case ErrorKind::damage:
    case ErrorKind::gap:
      return true;
    default:
      return false;
  }
}

void Archives::fall_silent(std::size_t archive, const Error& error) {
  members_[archive].silence = error;
  listing_.reset();
}

std::uint64_t Archives::all_silent() const {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < members_.size(); ++i)
    if (silent(i)) all |= std::uint64_t{1} << i;
  return all;
}

void Archives::require_answers(std::string_view what) const {
  if (options_.without_silent &&
      !std::all_of(members_.begin(), members_.end(),
                   [](const Member& member) { return member.silence.has_value(); }))
    return;
  for (const auto& member : members_)
    if (member.silence)
      throw Error(*member.silence)
          .with("the other archives do not have", what)
          .hint(
              "Whether the file exists cannot be determined while one of the archives does not "
              "answer. If that archive is permanently lost, remove its -D or --store from the "
              "command, or skip unresponsive ones with --without-silent.");
}

void Archives::forget() {
  listing_.reset();
  for (auto& member : members_) member.facts.forget();
}

const archive::Listing& Archives::listing() {
  if (!several()) return at(0).listing();
  if (!listing_) {
    archive::Listing all;
    ask_each([&](std::size_t i) { all = joined(all, at(i).listing()); });
    listing_ = std::move(all);
  }
  return *listing_;
}

std::optional<archive::Identity> Archives::identity() {
  std::optional<archive::Identity> agreed;
  std::size_t whose = 0;
  ask_each([&](std::size_t i) {
    const auto& found = at(i).identity();
    if (!found) return;
    if (!agreed) {
      agreed = found;
      whose = i;
      return;
    }
    if (found->system_identifier == agreed->system_identifier &&
        found->segment_size == agreed->segment_size)
      return;
    const bool cluster = found->system_identifier != agreed->system_identifier;
    Contradiction error(ErrorKind::conflict, cluster
                                                 ? "the archives hold WAL of two clusters"
                                                 : "the archives hold WAL of two segment sizes");
    for (const auto each : {whose, i}) {
      const auto& told = at(each).identity();
      error.with(each == whose ? "directory" : "and", shelf(each).path());
      if (cluster)
        error.with("system identifier", told->system_identifier);
      else
        error.with("segment size", told->segment_size.bytes());
      error.with("read from", told->file);
    }
    throw error.hint(
        "All -D of one command must be archives of the same server: remove the other one.");
  });
  return agreed;
}

archive::Timelines Archives::timelines(std::size_t first) {
  archive::Timelines all;
  const auto read = [&](std::size_t i) {
    all.add(archive::Timelines::read(shelf(i), at(i).listing()));
  };
  if (!silent(first)) ask_one(first, [&] { read(first); });
  ask_each([&](std::size_t i) {
    if (i != first) read(i);
  });
  return all;
}

std::vector<KnownHole> Archives::known_holes(wal::SegmentSize size) {
  std::vector<KnownHole> holes;
  ask_each([&](std::size_t i) {
    const auto known = at(i).known_holes(size);
    holes.insert(holes.end(), known.begin(), known.end());
  });
  if (!several() || holes.empty()) return holes;
  std::set<std::pair<std::uint64_t, wal::TimelineId>> finished;
  for (const auto& entry : listing().segments)
    if (!entry.name.partial && entry.name.segment.fits(size))
      finished.emplace(entry.name.segment.segno(size), entry.name.segment.timeline());
  std::optional<archive::Timelines> histories;
  std::vector<KnownHole> left;
  for (auto& hole : holes) {
    // Across a timeline switch, only the segments that a recovery to the hole's end reads fill it.
    // Without a history that shows them, a segment of the range counts regardless of its timeline.
    std::optional<wal::TimelineHistory> history;
    if (hole.timeline != hole.next_timeline) {
      if (!histories) histories = timelines();
      history = histories->history(hole.next_timeline);
    }
    if (history && !history->contains(hole.timeline)) history.reset();
    const auto is_there = [&](std::uint64_t segno) {
      if (history)
        return finished.contains({segno, archive::timeline_of_segment(*history, segno, size)});
      const auto found = finished.lower_bound({segno, hole.timeline});
      return found != finished.end() && found->first == segno &&
             found->second <= hole.next_timeline;
    };
    // The others may have its end, as an import may have filled it (read_known_holes()).
    const auto first = size.segno(hole.begin);
    auto behind = size.segno(wal::Lsn(hole.end.byte() - 1)) + 1;
    while (behind > first && is_there(behind - 1)) --behind;
    if (behind <= first) continue;
    hole.end = std::min(hole.end, size.start(behind));
    left.push_back(hole);
  }
  return left;
}

/// What was uploaded of this archive's cluster; nullopt if the user may not read that.
std::optional<store::Mark> Archives::mark_of(std::size_t archive) {
  const auto& identity = at(archive).identity();
  if (!identity) return std::nullopt;
  try {
    auto mark = store::read_mark(shelf(archive));
    if (mark && mark->system_identifier == identity->system_identifier &&
        mark->segment_size == identity->segment_size)
      return mark;
  } catch (const Error& error) {
    if (error.system_code() != EACCES) throw;
  }
  return std::nullopt;
}

bool Archives::was_uploaded(wal::SegmentName segment) {
  if (options_.store) return false;
  bool uploaded = false;
  ask_each([&](std::size_t i) {
    const auto mark = mark_of(i);
    uploaded = uploaded || (mark && mark->has(segment));
  });
  return uploaded;
}

std::vector<Archives::Recorded> Archives::missing_by_records() {
  std::vector<Recorded> found;
  const auto cluster = identity();
  if (!cluster) return found;
  const auto& size = cluster->segment_size;
  ask_each([&](std::size_t i) {
    if (!at(i).identity() || i == options_.store) return;
    std::vector<archive::Loss> losses;
    static_cast<void>(archive::read_losses(shelf(i), at(i).listing(), &losses));
    for (const auto& loss : losses)
      if (loss.kind == archive::Loss::Kind::lost_branch && !loss.complaint &&
          (loss.system_identifier == 0 || loss.system_identifier == cluster->system_identifier))
        found.push_back({archive::loss_record_name(loss.id()), loss.next_timeline, {}});
    const auto mark = options_.store ? std::nullopt : mark_of(i);
    if (!mark) return;
    auto first = std::numeric_limits<std::uint64_t>::max();
    for (const auto& entry : at(i).listing().segments)
      if (entry.name.segment.fits(size)) first = std::min(first, entry.name.segment.segno(size));
    const std::string name(store::kMarkName);
    for (const auto timeline : mark->histories) found.push_back({name, timeline, {}});
    for (const auto& run : mark->sent)
      if (run.last.segno(size) >= first) found.push_back({name, run.last.timeline(), run.last});
  });
  // By the names of now: a receiver may have completed and uploaded it since the listing.
  std::erase_if(found, [&](const Recorded& each) {
    bool exists = false;
    ask_each([&](std::size_t i) {
      exists =
          exists || (each.segment ? at(i).finished_form_exists(*each.segment)
                                  : shelf(i).find(wal::history_name(each.timeline)).has_value());
    });
    return exists;
  });
  if (found.empty()) return found;
  const auto histories = timelines();
  std::erase_if(found, [&](const Recorded& each) {
    const auto known = histories.known();
    return each.segment && std::any_of(known.begin(), known.end(), [&](wal::TimelineId other) {
             const auto history = histories.history(other);
             const auto end = history ? history->end_of(each.timeline) : std::nullopt;
             return end && *end <= each.segment->start(size);
           });
  });
  return found;
}

std::optional<Gap> Archives::recorded(wal::SegmentName segment) {
  for (const auto& each : missing_by_records())
    if (each.segment && each.timeline == segment.timeline() && segment <= *each.segment)
      return Gap{fmt::format("according to {}, {} was uploaded", each.record, *each.segment),
                 each.record};
  return std::nullopt;
}

std::optional<Gap> Archives::recorded(wal::TimelineId timeline) {
  for (const auto& each : missing_by_records())
    if (!each.segment && each.timeline == timeline)
      return Gap{fmt::format("according to {}, timeline {} existed", each.record, timeline),
                 each.record};
  return std::nullopt;
}

std::optional<wal::TimelineHistory> Archives::history_of(wal::TimelineId timeline) {
  std::optional<wal::TimelineHistory> history;
  ask_each([&](std::size_t i) {
    if (!history) history = at(i).history_of(timeline);
  });
  return history;
}

bool Archives::finished_form_exists(wal::SegmentName segment) {
  bool exists = false;
  ask_each([&](std::size_t i) { exists = exists || at(i).finished_form_exists(segment); });
  return exists;
}

archive::RecentChange Archives::find_recent_change(wal::SegmentName segment) {
  archive::RecentChange change;
  const auto known = identity();
  if (!known || !segment.fits(known->segment_size)) return change;
  ask_each([&](std::size_t i) {
    if (change.ends_early || i == options_.store) return;
    const auto found = archive::find_recent_change(shelf(i), segment, known->segment_size,
                                                   std::chrono::system_clock::now());
    change.changed = change.changed || found.changed;
    change.ends_early = found.ends_early;
  });
  return change;
}

void Archives::require_same_cluster(std::size_t archive, std::uint64_t system_identifier) {
  ask_one(archive, [&] {
    const auto& found = at(archive).identity();
    if (!found && !options_.empty_is_absence && !options_.store &&
        at(archive).listing().segments.empty())
      throw no_wal_in(shelf(archive).path(), false, options_.if_empty_is_right);
    if (!found || found->system_identifier == system_identifier) return;
    throw another_cluster(shelf(archive).path(), system_identifier, *found);
  });
}

void Archives::require_wal() {
  if (options_.empty_is_absence) return;
  bool some = false;
  ask_each([&](std::size_t i) {
    const bool empty = at(i).listing().segments.empty();
    some = some || !empty;
    if (empty && !options_.store)
      throw no_wal_in(shelf(i).path(), false, options_.if_empty_is_right);
  });
  if (!options_.store) return;
  // WAL in other archives proves nothing about a store without any upload.
  if (some && options_.stored != nullptr && !silent(*options_.store)) {
    const auto store = *options_.store;
    bool nothing = false;
    ask_one(store, [&] {
      nothing = at(store).listing().segments.empty() && !options_.stored->is_claimed();
    });
    if (nothing) throw no_wal_in(shelf(store).path(), true, options_.if_empty_is_right);
  }
  if (some) return;
  require_answers("any WAL");
  throw no_wal_in(paths(), true, options_.if_empty_is_right);
}

}  // namespace weir::restore
