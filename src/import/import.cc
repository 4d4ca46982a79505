#include "import/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "archive/find_losses.h"
#include "archive/forms.h"
#include "archive/identity.h"
#include "archive/losses.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "archive/upkeep.h"
#include "base/error.h"
#include "import/importer.h"
#include "import/publisher.h"

namespace weir::importing {

Result Import::run() {
  result_.left_out = options_.left_out;
  look();
  if (cluster_.segment_size) {
    take_histories();
    compare_present();
    make_plan();
    judge();
    publish_histories();
    if (!options_.dry_run) publish();
    look_at_borders();
    tell_what_remains();
  }
  count_named();
  tell_what_is_open();
  return std::move(result_);
}

void Import::look() {
  listing_ = archive::list_archive(archive_);
  timelines_ = archive::Timelines::read(archive_, listing_);
  for (const auto& complaint : timelines_.complaints())
    if (complaint.kind != ErrorKind::damage)
      throw Error(ErrorKind::io, "a timeline history of the archive could not be read")
          .with("path", archive_.path_of(complaint.file))
          .with("reason", complaint.what);
  const auto identity = archive::read_identity(archive_, listing_);
  if (identity) {
    cluster_.system_identifier = identity->system_identifier;
    cluster_.segment_size = identity->segment_size;
  }
  offers_ = collect(sources_, cluster_, result_.left_out, options_.stop);
  if (cluster_.segment_size) size_ = *cluster_.segment_size;
}

void Import::take_histories() {
  histories_ =
      plan_histories(offers_.histories, timelines_, listing_, options_.extend, result_.left_out);
  result_.present += histories_.present;
  lineage_ = histories_.lineage;
}

/// Compares offered files with the archive's files of the same name. Equal ones are fine;
/// meaningless bytes are not compared.
void Import::compare_present() {
  for (auto& [name, offers] : offers_.segments) {
    const auto files = finished_files(name);
    if (files.empty()) continue;
    std::optional<wal::Lsn> left_at;
    for (const auto timeline : timelines_.known())
      if (const auto end = lineage_.history(timeline).end_of(name.timeline());
          end && size_.start_of(*end) == name.start(size_))
        left_at = left_at ? std::min(*left_at, *end) : *end;
    const auto start = name.start(size_);
    for (const auto& offer : offers) {
      std::string what;
      const auto compare = [&] {
        const auto offset = meaningful_difference(archive_, files.front(), offer, size_, left_at);
        if (!offset)
          ++result_.present;
        else
          what = fmt::format("it differs from the archive's {} from {} on",
                             files.front().to_string(), start + *offset);
      };
      for (bool again = false;; again = true) {
        try {
          compare();
        } catch (const Error& error) {
          if (!archive::is_gone(error) && !is_of_the_file(error)) throw;
          if (!again && wait_for_writer(offer, size_, options_.stop)) continue;
          if (!archive::is_gone(error)) what = error.what();
        }
        break;
      }
      if (what.empty()) continue;
      if (is_sound(name)) {
        // Ours is whole: is the other one damaged, or of another branch?
        const auto& own = files.front().to_string();
        const auto fresh = sound_in_itself(offer, cluster_);
        result_.left_out.push_back(
            {offer.path(), fresh ? Reason::conflict : Reason::not_sound, what,
             fresh ? fmt::format("Both are valid WAL: one of them belongs to another branch. {} "
                                 "was not changed.",
                                 archive_.path_of(own))
                   : fmt::format("The archive's own file is valid, and this one is not.")});
        continue;
      }
      if (options_.replace_damaged) {
        facts_.damaged.insert(name);
        continue;
      }
      result_.left_out.push_back(
          {offer.path(), Reason::conflict,
           fmt::format("the archive has {}, which is damaged", files.front().to_string()),
           "With --replace-damaged, it is replaced if this one is valid and matches on both "
           "sides."});
    }
  }
}

/// The archive's own segment, checked with the WAL before and after it.
bool Import::is_sound(wal::SegmentName name) {
  const auto segno = name.segno(size_);
  const auto history = lineage_.history(name.timeline());
  Run run{history, segno, segno + 1};
  run.left = segno > 0 && finished_now(history, segno - 1);
  run.right = finished_now(history, segno + 1);
  const auto piece = judge_ours(run);
  return piece.has_value();
}

void Import::make_plan() {
  facts_.segment_size = size_;
  facts_.listing = listing_;
  facts_.losses = archive::read_losses(archive_, listing_);
  holes_before_ = facts_.losses;
  for (auto& hole : archive::find_holes(listing_, timelines_, size_, facts_.losses))
    holes_before_.push_back(std::move(hole));
  for (const auto& [name, offers] : offers_.segments) facts_.offered.insert(name);
  facts_.extend = options_.extend;
  facts_.receiver = options_.receiver;
  if (options_.receiver && options_.durable_end) facts_.durable = options_.durable_end();
  plan_ = importing::make_plan(facts_, lineage_);
  if (!plan_.needs_lock && options_.release_lock) options_.release_lock();
  tell_places();
}

void Import::tell_places() {
  // Without the history of its newest timeline, no earlier one is known to belong to the archive.
  std::optional<wal::TimelineId> without_history;
  for (const auto& [timeline, shown] : archive::missing_histories(listing_, timelines_))
    if (lineage_.find(timeline) == nullptr) without_history = timeline;
  for (const auto& [name, offers] : offers_.segments) {
    switch (plan_.places.at(name)) {
      case Place::wanted:
      case Place::present:
        break;
      case Place::behind:
        leave_out(offers, Reason::not_asked_for,
                  options_.receiver ? "it is newer than the WAL that the receiver has flushed"
                  : listing_.segments.empty() ? "the archive is empty"
                                              : "it is newer than the WAL in the archive",
                  options_.receiver
                      ? "The receiver fetches it itself."
                      : "With --extend, it is imported while no receiver is running.");
        break;
      case Place::before:
        leave_out(offers, Reason::not_asked_for, "it is older than the WAL in the archive",
                  "With --extend, it is imported.");
        break;
      case Place::not_on_way:
        leave_out(
            offers, Reason::not_asked_for,
            fmt::format("no recovery needs it: timeline {} ended before it", name.timeline()));
        break;
      case Place::unknown_way: {
        auto missing = without_history;
        if (!missing && name.timeline() > 1 && lineage_.find(name.timeline()) == nullptr)
          missing = name.timeline();
        leave_out(
            offers, Reason::conflict,
            fmt::format("timeline {} does not belong to the archive's history", name.timeline()),
            missing ? fmt::format("It belongs to another branch of the cluster, or {} is missing: "
                                  "import that as well, or archive the branch into a separate "
                                  "directory.",
                                  wal::history_name(*missing))
                    : "It belongs to another branch of the cluster: archive it into a separate "
                      "directory.");
        break;
      }
    }
  }
}

Judge Import::new_judge() {
  return Judge(archive_, lineage_,
               {.system_identifier = cluster_.system_identifier,
                .segment_size = size_,
                .durable_end = options_.durable_end,
                .observer = &changes_,
                .stop = options_.stop});
}

void Import::judge() {
  auto judge = new_judge();
  for (const auto& run : plan_.runs)
    accept(run, judge.judge(run, offers_.segments, result_.left_out));
  // An archive without WAL starts with one row of segments, the newest.
  if (!listing_.segments.empty()) return;
  for (std::size_t i = 0; i + 1 < accepted_.size(); ++i)
    leave_out(accepted_[i].piece, Reason::not_sound,
              "segments are missing after it: the archive would begin with a hole");
  if (accepted_.size() > 1) accepted_.erase(accepted_.begin(), accepted_.end() - 1);
}

/// The archive has it, damaged, or has recorded that it is missing: then it does not end there.
bool Import::is_expected_within(const Run& run, std::uint64_t first, std::uint64_t behind) const {
  for (auto segno = first; segno < behind; ++segno) {
    const wal::SegmentName name{archive::timeline_of_segment(run.history, segno, size_), segno,
                                size_};
    if (facts_.damaged.contains(name)) return true;
    for (const auto& loss : facts_.losses)
      for (const auto& range : loss.missing)
        if (loss.kind == archive::Loss::Kind::hole && run.history.contains(loss.timeline) &&
            name.timeline() <= loss.next_timeline && range.begin <= name.start(size_) &&
            name.start(size_) < range.end)
          return true;
  }
  return false;
}

/// Decides which pieces of a run are accepted, by the sides on which they match.
void Import::accept(const Run& run, std::vector<Piece> pieces) {
  for (auto& piece : pieces) {
    const auto first = piece.slots.front().name.segno(size_);
    const auto behind = piece.slots.back().name.segno(size_) + 1;
    const bool front = run.front && !is_expected_within(run, run.first, first);
    const bool back = run.back && !is_expected_within(run, behind, run.behind);
    const bool empty = run.front && run.back;
    Accepted accepted{std::move(piece), run.history.timeline()};
    const auto& [slots, left, right] = accepted.piece;
    // From the side that it matches: an interruption then leaves no second hole.
    accepted.from_right = (run.front && !run.back) || (!left && right);
    const bool whole = empty || ((left || front) && (right || back));
    const bool replaces = std::any_of(slots.begin(), slots.end(), [&](const Slot& slot) {
      return facts_.damaged.contains(slot.name);
    });
    if (!whole && (front || back)) {
      leave_out(accepted.piece, Reason::not_sound,
                "it is not adjacent to the archive's WAL: it would leave a hole in between",
                "Offer the segments in between as well.");
      continue;
    }
    if (!whole && !left && !right) {
      leave_out(accepted.piece, Reason::not_sound,
                "no adjacent segment is in the archive, so it cannot be verified",
                "Import the segments before or after it as well.");
      continue;
    }
    if (!whole && replaces) {
      leave_out(accepted.piece, Reason::not_sound,
                "a damaged segment is replaced only by a copy that matches the WAL on both sides");
      continue;
    }
    if (!agrees_with_unfinished(accepted.piece, run)) continue;
    if (!agrees_beside(accepted.piece, run)) continue;
    accepted.left_open = !whole && !left;
    accepted.right_open = !whole && !right;
    for (const auto& slot : slots)
      if (options_.dry_run)
        result_.came.push_back({Publisher::target(slot).to_string(), slot.offer.path(),
                                facts_.damaged.contains(slot.name)});
    accepted_.push_back(std::move(accepted));
  }
}

/// The archive's part of such a segment was confirmed, as far as it is valid.
bool Import::agrees_with_unfinished(const Piece& piece, const Run& run) {
  for (const auto& slot : piece.slots) {
    for (const auto& entry : listing_.segments) {
      if (entry.name.segment != slot.name || !entry.name.partial) continue;
      const Offer ours{own_shelf(), entry.name};
      std::optional<std::uint64_t> offset;
      try {
        offset = meaningful_difference(*slot.offer.shelf, slot.offer.name, ours, size_,
                                       run.history.end_of(slot.name.timeline()));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::damage && !archive::is_gone(error)) throw;
      }
      if (!offset) continue;
      leave_out(piece, Reason::conflict,
                fmt::format("{} differs from the archive's {}, which was confirmed, from {} on",
                            slot.offer.name.to_string(), entry.name.to_string(),
                            slot.name.start(size_) + *offset),
                "One of the two belongs to another branch. Nothing was changed.");
      return false;
    }
  }
  return true;
}

/// Idle servers write WAL of the same layout, so that even the links between records match at a
/// boundary that no record crosses. If a source also has the adjacent segments, they decide.
bool Import::agrees_beside(const Piece& piece, const Run& run) {
  const auto agrees = [&](const Slot& slot, std::uint64_t segno) {
    const wal::SegmentName name{archive::timeline_of_segment(run.history, segno, size_), segno,
                                size_};
    const auto ours = archive::find_finished(archive_, name);
    auto& shelf = *slot.offer.shelf;
    auto theirs = archive::find_finished(shelf, name);
    for (const auto& partial : archive::partial_names(name))
      if (!theirs && shelf.find(partial.to_string())) theirs = partial;
    if (!ours || !theirs || facts_.damaged.contains(name)) return true;
    const Offer beside{slot.offer.shelf, *theirs};
    try {
      const auto offset = meaningful_difference(
          archive_, *ours, beside, size_, run.history.end_of(name.timeline()), Extent::sound_part);
      if (!offset || !sound_in_itself({own_shelf(), *ours}, cluster_)) return true;
      leave_out(piece, Reason::conflict,
                fmt::format("the adjacent {} differs from the archive's {} from {} on",
                            beside.path(), ours->to_string(), name.start(size_) + *offset),
                "The two belong to different branches, and so may the files to be imported, "
                "although they match. None was imported.");
      return false;
    } catch (const Error& error) {
      if (!is_of_the_file(error) && !archive::is_gone(error)) throw;
      return true;
    }
  };
  const auto first = piece.slots.front().name.segno(size_);
  return (first == 0 || agrees(piece.slots.front(), first - 1)) &&
         agrees(piece.slots.back(), piece.slots.back().name.segno(size_) + 1);
}

void Import::leave_out(const std::vector<Offer>& offers, Reason reason, const std::string& what,
                       const std::string& hint) {
  for (const auto& offer : offers) result_.left_out.push_back({offer.path(), reason, what, hint});
}

void Import::leave_out(const Piece& piece, Reason reason, const std::string& what,
                       const std::string& hint) {
  for (const auto& slot : piece.slots)
    result_.left_out.push_back({slot.offer.path(), reason, what, hint});
}

Reason Result::reason() const {
  auto worst = Reason::not_asked_for;
  for (const auto& each : left_out) worst = std::max(worst, each.reason);
  for (const auto& each : unvouched)
    if (each.complaint) worst = std::max(worst, Reason::not_sound);
  return worst;
}

namespace {

/// The name at the end of a path, regardless of any suffix after its digits.
std::optional<wal::SegmentName> segment_of(const std::string& path) {
  const auto name = path.substr(path.rfind('/') + 1);
  return wal::SegmentName::parse(std::string_view(name).substr(0, 24));
}

}  // namespace

/// A dry run reports as if the accepted files were added.
bool Import::is_there(wal::SegmentName name) {
  if (archive::find_finished(archive_, name)) return true;
  return options_.dry_run && std::any_of(accepted_.begin(), accepted_.end(), [&](const auto& each) {
           return std::any_of(each.piece.slots.begin(), each.piece.slots.end(),
                              [&](const Slot& slot) { return slot.name == name; });
         });
}

/// A named file that exists in the archive and was skipped differs from it.
void Import::count_named() {
  std::set<std::string> left_out;
  for (const auto& each : result_.left_out) left_out.insert(each.path);
  for (const auto& source : sources_) {
    if (!source.file || archive::is_backup_history_name(*source.file)) continue;
    ++result_.named;
    const auto original = source.originals.find(*source.file);
    const auto path = original == source.originals.end() ? source.shelf->path_of(*source.file)
                                                         : original->second.path;
    if (left_out.contains(path)) continue;
    if (const auto segment = archive::SegmentFileName::parse(*source.file)) {
      if (is_there(segment->segment)) ++result_.named_in;
    } else if (const auto history = archive::parse_history_name(*source.file)) {
      const auto known = timelines_.known();
      const auto came = std::any_of(result_.came.begin(), result_.came.end(),
                                    [&](const auto& each) { return each.from == path; });
      if (came || std::find(known.begin(), known.end(), history->timeline) != known.end())
        ++result_.named_in;
    }
  }
}

/// Skipped files of a directory do not matter if the archive no longer needs them.
void Import::tell_what_is_open() {
  std::size_t conflicts = 0;
  std::size_t wanted = 0;
  std::size_t no_sources = 0;
  for (const auto& each : result_.left_out) {
    if (each.no_source) ++no_sources;
    if (each.reason == Reason::conflict) ++conflicts;
    if (each.reason != Reason::not_sound || each.no_source) continue;
    const auto segment = segment_of(each.path);
    const bool replaced =
        segment && std::any_of(result_.came.begin(), result_.came.end(), [&](const auto& came) {
          return came.replaced && came.name.starts_with(segment->to_string());
        });
    if (segment && ((options_.extend && !is_there(*segment)) ||
                    (facts_.damaged.contains(*segment) && !replaced)))
      ++wanted;
  }
  std::size_t misfits = 0;
  for (const auto& each : result_.unvouched)
    if (each.complaint) ++misfits;
  const auto tell = [&](std::size_t count, std::string_view one, std::string_view many) {
    if (count > 0) result_.open.push_back(fmt::format("{} {}", count, count == 1 ? one : many));
  };
  tell(no_sources, "source has no WAL that can be read", "sources have no WAL that can be read");
  tell(conflicts, "file contradicts the archive", "files contradict the archive");
  tell(wanted, "file is damaged, or does not continue the archive's WAL, and was not imported",
       "files are damaged, or do not continue the archive's WAL, and were not imported");
  tell(misfits, "boundary does not match", "boundaries do not match");
  if (listing_.segments.empty() && result_.came.empty() && !sources_.empty() &&
      no_sources < sources_.size())
    result_.open.push_back(options_.extend ? "the archive is empty"
                                           : "the archive is empty, which requires --extend");
}

Result import_wal(io::Directory& archive, const std::vector<Source>& sources,
                  const Options& options) {
  std::optional<archive::Upkeep> upkeep;
  if (!options.dry_run) upkeep.emplace(archive, archive::Upkeep::Kind::import);
  return Import(archive, sources, options).run();
}

}  // namespace weir::importing
