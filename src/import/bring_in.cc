// An import publishes in an order that creates no new findings (`import/bring_in.cc`). In a hole,
// it goes from left to right: if killed anywhere, the hole is shorter, and names and its record
// show the rest as before (P9, P14). A piece at the right end of a hole leaves two boundaries, both
// visible. Before the archive's start, it goes from right to left, so that no hole appears there. A
// history file precedes its first segment, the record of a boundary that cannot be verified
// precedes the first segment concerned, and the record of the hole is removed last. A run is read
// to its right boundary before its first rename, since only that reveals another branch. Since its
// source may change, copied bytes must have the digest of those that were verified. After the last
// complete segment, the import holds the archive's lock, or touches nothing past a receiver's
// durable end, so that it never publishes a segment that a receiver is writing. `--replace-damaged`
// copies the damaged file to a hidden name and then renames over it: a file of that name exists at
// all times, since recovery would take its absence for the end.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "archive/border.h"
#include "archive/find_losses.h"
#include "archive/forms.h"
#include "archive/look_again.h"
#include "archive/losses.h"
#include "archive/minimal_wal.h"
#include "archive/segment_reader.h"
#include "archive/wal_reader.h"
#include "base/error.h"
#include "base/units.h"
#include "import/importer.h"
#include "import/publisher.h"
#include "wal/ancestor_history.h"

namespace weir::importing {

using archive::SegmentFileName;

namespace {

constexpr std::string_view kPruned =
    "the adjacent segment was removed from the archive: pgweir prune is running";

}  // namespace

void Import::publish() {
  for (const auto& accepted : accepted_) publish(accepted);
  end_minimal_wal_at_holes();
}

/// Each before the first segment of its timeline, and after those of its ancestors: "restore"
/// rejects the request for a file that another history names and the archive lacks. Those of
/// skipped timelines come last: a recovery to the newest timeline ends its search at the first
/// number whose file is missing (findNewestTimeLine() in access/transam/timeline.c), and would
/// follow a skipped one if no newer file came after it.
void Import::publish_histories() {
  std::set<wal::TimelineId> with_segments;
  for (const auto& entry : listing_.segments) with_segments.insert(entry.name.segment.timeline());
  std::set<wal::TimelineId> needed;
  for (const auto& accepted : accepted_)
    for (const auto& slot : accepted.piece.slots) {
      const auto timeline = slot.name.timeline();
      with_segments.insert(timeline);
      if (!needed.insert(timeline).second) continue;
      const auto history = lineage_.history(timeline);
      for (const auto& ancestor : history.ancestors()) needed.insert(ancestor.timeline);
    }
  const auto known = timelines_.known();
  std::set<wal::TimelineId> there(known.begin(), known.end());
  Publisher publisher(archive_, size_);
  const auto add = [&](const OfferedHistory& history) {
    const auto timeline = history.history.timeline();
    if (!there.insert(timeline).second) return;
    if (!options_.dry_run && publisher.publish_history(history) == Publisher::Outcome::taken)
      return;
    const auto name = wal::history_name(timeline);
    result_.came.push_back({name, history.path});
    if (!options_.dry_run && options_.came_in) options_.came_in(name, history.path);
  };
  const auto add_with_ancestors = [&](const OfferedHistory& history) {
    for (const auto& ancestor : history.history.ancestors()) {
      if (there.contains(ancestor.timeline)) continue;
      auto content = wal::ancestor_history(history.content, ancestor.timeline);
      auto older =
          content ? wal::TimelineHistory::parse(ancestor.timeline, *content) : std::nullopt;
      if (!older) continue;
      const auto offered = offers_.histories.find(ancestor.timeline);
      if (offered != offers_.histories.end() && offered->second.history == *older)
        add(offered->second);
      else
        add({history.path, std::move(*content), std::move(*older)});
    }
    add(history);
  };
  const auto add_skipped = [&](const OfferedHistory& history, const char* why_not) {
    const auto timeline = history.history.timeline();
    if (there.contains(timeline)) return;  // by now: an ancestor's
    if (!with_segments.empty() && *with_segments.begin() < timeline &&
        timeline < *with_segments.rbegin() && there.contains(*with_segments.rbegin()))
      add_with_ancestors(history);
    else
      result_.left_out.push_back({history.path, Reason::not_asked_for, why_not});
  };
  const auto is_needed = [&](const HistoryPlan::Wanted& wanted) {
    return !wanted.with_segments_only || needed.contains(wanted.history.timeline());
  };
  for (const auto& wanted : histories_.wanted)
    if (is_needed(wanted)) add_with_ancestors(wanted);
  for (const auto& wanted : histories_.wanted)
    if (!is_needed(wanted)) add_skipped(wanted, "no segment of its timeline is imported");
  for (const auto& other : histories_.others)
    add_skipped(other, "its timeline does not belong to the archive's history");
}

archive::Unvouched Import::unvouched_of(const Accepted& accepted) const {
  const auto& slots = accepted.piece.slots;
  archive::Unvouched unvouched;
  // The timeline of the segments, and of the missing one after them: a later switch does not
  // matter.
  const auto history = lineage_.history(accepted.timeline);
  const auto last = slots.back().name;
  const auto timeline = accepted.right_open
                            ? archive::timeline_of_segment(history, last.segno(size_) + 1, size_)
                            : last.timeline();
  const bool is_known = timeline == 1 || lineage_.find(timeline) != nullptr;
  unvouched.timeline = is_known ? timeline : accepted.timeline;
  unvouched.begin = slots.front().name.start(size_);
  unvouched.end = slots.back().name.start(size_) + size_.bytes();
  unvouched.segment_size = size_;
  unvouched.left = accepted.left_open;
  unvouched.right = accepted.right_open;
  unvouched.found = options_.now;
  unvouched.source = slots.front().offer.shelf->path();
  return unvouched;
}

void Import::publish(const Accepted& accepted) {
  const auto& slots = accepted.piece.slots;
  if (accepted.left_open || accepted.right_open) {
    archive::DirectoryHome home(archive_);
    archive::record_unvouched(home, unvouched_of(accepted));
  }
  record_minimal_wal(accepted);
  const auto history = lineage_.history(accepted.timeline);
  // A prune running meanwhile removes the neighbor: then ours would follow a hole.
  const auto& piece = accepted.piece;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto& slot = accepted.from_right ? slots[slots.size() - 1 - i] : slots[i];
    const auto segno = slot.name.segno(size_);
    std::optional<std::uint64_t> neighbour;
    if (accepted.from_right && (i > 0 || piece.right)) neighbour = segno + 1;
    if (!accepted.from_right && (i > 0 || piece.left)) neighbour = segno - 1;
    const auto still_wanted = [&] {
      if (!neighbour) return true;
      if (finished_now(history, *neighbour)) return true;
      const wal::SegmentName name{archive::timeline_of_segment(history, *neighbour, size_),
                                  *neighbour, size_};
      const auto partial = archive::partial_names(name);
      return accepted.from_right &&
             std::any_of(partial.begin(), partial.end(),
                         [&](const auto& each) { return archive_.find(each.to_string()); });
    };
    if (!publish(slot, still_wanted)) return;
    // Between that check and the rename. A prune that runs later removes ours, too.
    if (facts_.damaged.contains(slot.name) || still_wanted()) continue;
    archive_.remove(result_.came.back().name);
    archive_.sync();
    result_.left_out.push_back(
        {result_.came.back().from, Reason::not_asked_for, std::string(kPruned)});
    result_.came.pop_back();
    return;
  }
}

/// As the receiver does: durably, before the WAL is renamed into place.
void Import::record_minimal_wal(const Accepted& accepted) {
  const auto& slots = accepted.piece.slots;
  const auto begin = slots.front().name.start(size_);
  const auto end = slots.back().name.start(size_) + size_.bytes();
  auto losses = archive::read_losses(archive_, archive::list_archive_names(archive_));
  bool is_wanted = changes_.must_record();
  const auto tell = [&](const archive::Loss& loss) { tell_minimal_wal(loss); };
  // A period that ended at the hole continues in the WAL that fills the hole.
  for (auto& loss : losses) {
    if (!accepted.piece.left || loss.kind != archive::Loss::Kind::minimal_wal || loss.complaint ||
        loss.end != begin)
      continue;
    is_wanted = loss.goes_on = true;
    if (archive::record_loss(archive_, loss)) tell(loss);
  }
  if (!is_wanted) return;

  archive::MinimalWal minimal;
  minimal.begin({.timeline = accepted.timeline,
                 .start = begin,
                 .system_identifier = cluster_.system_identifier,
                 .segment_size = size_,
                 .server = slots.front().offer.shelf->path()},
                std::move(losses));
  const auto history = lineage_.history(accepted.timeline);
  wal::RecordVerifier::Options options;
  options.segment_size = size_;
  options.timeline = slots.front().name.timeline();
  options.history = lineage_.find(options.timeline);
  options.observer = &minimal;
  auto verifier = accepted.piece.left ? archive::verifier_at(archive_, options, begin)
                                      : wal::RecordVerifier(options, begin);
  const auto follow = [&](wal::TimelineId timeline) {
    verifier.follow(timeline, lineage_.find(timeline));
  };
  for (const auto& slot : slots) {
    follow(slot.name.timeline());
    try {
      archive::read_segment(*slot.offer.shelf, slot.offer.name, size_,
                            [&](auto wal) { return !verifier.feed(wal); });
    } catch (const Error& error) {
      if (!is_of_the_file(error) && !archive::is_gone(error)) throw;
      break;  // it has changed since it was verified, and is not added
    }
  }
  // The archive may have the record that raises wal_level again.
  archive::WalReader reader(archive_, {.segment_size = size_,
                                       .timeline = accepted.timeline,
                                       .history = history,
                                       .unfinished = true,
                                       .durable_end = options_.durable_end});
  std::vector<std::byte> buffer(wal::kPageSize);
  while (accepted.piece.right && (verifier.last_record_end() <= end || minimal.is_minimal())) {
    if (options_.stop && options_.stop(0))
      throw Error(ErrorKind::retry, "stopped before everything was checked");
    follow(reader.segment_at(verifier.position()).timeline());
    const auto read = reader.read(verifier.position(), buffer);
    if (read.state != archive::WalSource::State::bytes ||
        verifier.feed(std::span(buffer).first(read.count)))
      break;
  }
  minimal.record(archive_, options_.now, tell);
}

/// If the record that raises wal_level is still missing, it is in the next hole: after that, WAL
/// was archived again.
void Import::end_minimal_wal_at_holes() {
  if (result_.minimal_wal.empty()) return;
  const auto listing = archive::list_archive_names(archive_);
  auto losses = archive::read_losses(archive_, listing);
  const auto timelines = archive::Timelines::read(archive_, listing);
  for (auto& hole : archive::find_holes(listing, timelines, size_, losses))
    losses.push_back(std::move(hole));
  wal::Lsn newest;
  for (const auto& entry : listing.segments)
    if (entry.name.segment.fits(size_)) newest = std::max(newest, entry.name.segment.start(size_));
  archive::MinimalWal minimal;
  minimal.begin({.timeline = accepted_.back().timeline, .start = newest, .server_end = newest},
                std::move(losses));
  minimal.record(
      archive_, options_.now, [&](const archive::Loss& loss) { tell_minimal_wal(loss); }, newest);
}

void Import::tell_minimal_wal(const archive::Loss& loss) {
  std::erase_if(result_.minimal_wal, [&](const auto& told) { return told.id() == loss.id(); });
  result_.minimal_wal.push_back(loss);
}

/// Returns false if the others of the piece must not be added either.
bool Import::publish(const Slot& slot, const std::function<bool()>& still_wanted) {
  if (options_.stop && options_.stop(0))
    throw Error(ErrorKind::retry, "stopped before everything was published")
        .hint("The files imported so far are complete; run the command again for the rest.");
  Publisher publisher(archive_, size_);
  const auto from = slot.offer.path();
  auto name = Publisher::target(slot).to_string();
  const bool replaces = facts_.damaged.contains(slot.name);
  try {
    if (replaces) {
      const auto damaged = finished_files(slot.name);
      name = damaged.front().to_string();
      publisher.replace(slot, damaged);
    } else {
      switch (publisher.publish(slot, still_wanted)) {
        case Publisher::Outcome::published:
          break;
        case Publisher::Outcome::taken: {
          const auto file = archive::find_finished(archive_, slot.name);
          const bool same =
              file && !meaningful_difference(archive_, *file, slot.offer, size_, std::nullopt);
          if (same) {
            ++result_.present;
            return false;  // another process repairs it, too
          }
          result_.left_out.push_back({from, Reason::conflict,
                                      "another process has created a different file of this name"});
          return false;
        }
        case Publisher::Outcome::withdrawn:
          result_.left_out.push_back({from, Reason::not_asked_for, std::string(kPruned)});
          return false;
      }
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && !archive::is_gone(error)) throw;
    result_.left_out.push_back({from, Reason::not_sound, error.what(), error.hint()});
    return false;
  }
  result_.came.push_back({name, from, replaces});
  if (options_.came_in) options_.came_in(name, from);
  return true;
}

/// Boundaries that an earlier import could not verify: by now the hole may have been closed by
/// other means.
void Import::look_at_borders() {
  const auto listing = archive::list_archive_names(archive_);
  if (!options_.dry_run) archive::close_unvouched(archive_, listing);
  for (auto& unvouched : archive::read_unvouched(archive_, listing)) {
    if (settled(unvouched) && !options_.dry_run)
      archive::remove_unvouched(archive_, unvouched);
    else
      result_.unvouched.push_back(std::move(unvouched));
  }
  if (!options_.dry_run) return;
  for (const auto& accepted : accepted_)
    if (accepted.left_open || accepted.right_open)
      result_.unvouched.push_back(unvouched_of(accepted));
}

bool Import::settled(archive::Unvouched& unvouched) {
  if (unvouched.complaint || unvouched.segment_size != size_) return false;
  Run run{lineage_.history(unvouched.timeline), size_.segno(unvouched.begin),
          size_.segno(wal::Lsn(unvouched.end.byte() - 1)) + 1};
  for (auto segno = run.first; segno < run.behind; ++segno)
    if (!finished_now(run.history, segno)) return false;
  run.left = run.first > 0 && finished_now(run.history, run.first - 1);
  run.right = finished_now(run.history, run.behind);
  if ((unvouched.left && !run.left) || (unvouched.right && !run.right)) return false;
  const auto piece = judge_ours(run);
  if (piece && (!unvouched.left || piece->left) && (!unvouched.right || piece->right)) return true;
  unvouched.complaint =
      "the adjacent gap is filled, and its WAL does not match: \"pgweir verify\" shows where";
  return false;
}

/// Files may be compressed meanwhile.
std::optional<Piece> Import::judge_ours(const Run& run) {
  return archive::look_again(archive::kMostLooksAtArchive, [&]() -> std::optional<Piece> {
    std::map<wal::SegmentName, std::vector<Offer>> ours;
    for (auto segno = run.first; segno < run.behind; ++segno) {
      const wal::SegmentName name{archive::timeline_of_segment(run.history, segno, size_), segno,
                                  size_};
      const auto file = archive::find_finished(archive_, name);
      if (!file) return std::nullopt;
      ours[name] = {Offer{own_shelf(), *file}};
    }
    std::vector<LeftOut> found;
    auto pieces = new_judge().judge(run, ours, found);
    if (pieces.size() != 1 || pieces.front().slots.size() != run.behind - run.first)
      return std::nullopt;
    return std::move(pieces.front());
  });
}

bool Import::finished_now(const wal::TimelineHistory& history, std::uint64_t segno) {
  const wal::SegmentName name{archive::timeline_of_segment(history, segno, size_), segno, size_};
  return archive::find_finished(archive_, name).has_value();
}

std::vector<SegmentFileName> Import::finished_files(wal::SegmentName name) const {
  std::vector<SegmentFileName> files;
  for (const auto& entry : listing_.segments)
    if (entry.name.segment == name && !entry.name.partial) files.push_back(entry.name);
  std::sort(files.begin(), files.end(), archive::counts_before);
  return files;
}

/// A dry run reports as if the accepted files were added.
void Import::tell_what_remains() {
  auto listing = archive::list_archive_names(archive_);
  auto losses = archive::read_losses(archive_, listing);
  if (options_.dry_run) {
    archive::Listing coming;
    for (const auto& accepted : accepted_)
      for (const auto& slot : accepted.piece.slots)
        coming.segments.push_back({Publisher::target(slot), std::nullopt});
    listing.segments = archive::joined(listing, coming).segments;
    const auto before = std::exchange(losses, archive::read_losses(archive_, listing));
    for (const auto& loss : before)
      if (std::none_of(losses.begin(), losses.end(),
                       [&](const auto& open) { return open.id() == loss.id(); }))
        result_.closed.push_back(loss.id());
  } else {
    result_.closed = archive::close_losses(archive_, listing);
  }
  const auto timelines = archive::Timelines::read(archive_, listing);
  for (auto& hole : archive::find_holes(listing, timelines, size_, losses))
    losses.push_back(std::move(hole));
  for (const auto& loss : losses) {
    if (loss.kind != archive::Loss::Kind::hole) continue;
    for (const auto& range : loss.missing) {
      result_.holes.push_back(fmt::format("{}: {} to {} on timeline {} ({}) is missing", loss.id(),
                                          range.begin, range.end, loss.timeline,
                                          format_size(range.end - range.begin)));
      if (touches(range))
        result_.touched.push_back(
            fmt::format("{} to {} on timeline {}", range.begin, range.end, loss.timeline));
    }
  }
}

/// A file named by the user touches the hole that it is in; a directory also a hole that its WAL
/// surrounds or reaches to: its user expects the hole to be closed. The rest of a hole is that
/// hole, too.
bool Import::touches(const archive::Loss::Range& range) const {
  auto begin = range.begin;
  auto end = range.end;
  for (const auto& before : holes_before_) {
    if (before.kind != archive::Loss::Kind::hole) continue;
    for (const auto& whole : before.missing)
      if (whole.begin <= range.begin && range.end <= whole.end) {
        begin = whole.begin;
        end = whole.end;
      }
  }
  return std::any_of(offers_.reaches.begin(), offers_.reaches.end(), [&](const Reach& reach) {
    if (!reach.first.fits(size_) || !reach.last.fits(size_)) return false;
    const auto first = reach.first.start(size_);
    const auto behind = reach.last.start(size_) + size_.bytes();
    return reach.file ? first < end && begin < behind : first <= end && begin <= behind;
  });
}

}  // namespace weir::importing
