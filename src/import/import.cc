#include "import/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "archive/find_losses.h"
#include "archive/forms.h"
#include "archive/identity.h"
#include "archive/losses.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "archive/upkeep.h"
#include "base/error.h"
#include "base/units.h"
#include "import/histories.h"
#include "import/judge.h"
#include "import/plan.h"
#include "import/publisher.h"

namespace weir::importing {

namespace {

using archive::SegmentFileName;

constexpr std::string_view kPruned =
    "the segment beside it has gone from the archive: a prune is at work";

/// A piece that will come in.
struct Accepted {
  Piece piece;
  wal::TimelineId timeline = 0;  ///< whose history it is judged by
  bool from_right = false;
  bool left_open = false;  ///< a hole stays there, and nobody can vouch for that side
  bool right_open = false;
};

class Import {
 public:
  Import(io::Directory& archive, const std::vector<Source>& sources, const Options& options)
      : archive_(archive), sources_(sources), options_(options) {}

  Result run() {
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
    return std::move(result_);
  }

 private:
  void look();
  void take_histories();
  void compare_present();
  [[nodiscard]] bool is_sound(wal::SegmentName name);
  void make_plan();
  void tell_places();
  void judge();
  void accept(const Run& run, std::vector<Piece> pieces);
  [[nodiscard]] bool is_expected_within(const Run& run, std::uint64_t first,
                                        std::uint64_t behind) const;
  [[nodiscard]] bool agrees_with_unfinished(const Piece& piece, const Run& run);
  [[nodiscard]] bool agrees_beside(const Piece& piece, const Run& run);
  void publish();
  void publish_histories();
  void publish(const Accepted& accepted);
  [[nodiscard]] bool publish(const Slot& slot, const std::function<bool()>& still_wanted);
  [[nodiscard]] archive::Unvouched unvouched_of(const Accepted& accepted) const;
  void look_at_borders();
  [[nodiscard]] bool settled(archive::Unvouched& unvouched);
  void tell_what_remains();

  void leave_out(const std::vector<Offer>& offers, Reason reason, const std::string& what,
                 const std::string& hint = {});
  void leave_out(const Piece& piece, Reason reason, const std::string& what,
                 const std::string& hint = {});
  [[nodiscard]] std::shared_ptr<io::Shelf> own_shelf() {
    return {std::shared_ptr<void>(), &archive_};
  }
  [[nodiscard]] std::vector<SegmentFileName> finished_files(wal::SegmentName name) const;
  [[nodiscard]] Judge new_judge();
  /// One that lies in files of ours: [first, behind) of that history.
  [[nodiscard]] std::optional<Piece> judge_ours(const Run& run);
  [[nodiscard]] bool finished_now(const wal::TimelineHistory& history, std::uint64_t segno);

  io::Directory& archive_;
  const std::vector<Source>& sources_;
  const Options& options_;

  archive::Listing listing_;
  archive::Timelines timelines_;
  Cluster cluster_;
  wal::SegmentSize size_;
  Offers offers_;
  Lineage lineage_{{}};
  HistoryPlan histories_;
  Facts facts_;
  Plan plan_;
  std::vector<Accepted> accepted_;
  Result result_;
};

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
  offers_ = collect(sources_, cluster_, result_.left_out);
  if (cluster_.segment_size) size_ = *cluster_.segment_size;
}

void Import::take_histories() {
  histories_ =
      plan_histories(offers_.histories, timelines_, listing_, options_.extend, result_.left_out);
  result_.present += histories_.present;
  lineage_ = histories_.lineage;
}

/// What is offered under a name that the archive has. Equal is fine; what means nothing is not
/// compared.
void Import::compare_present() {
  for (auto& [name, offers] : offers_.segments) {
    const auto files = finished_files(name);
    if (files.empty()) continue;
    std::optional<wal::Lsn> left_at;
    for (const auto timeline : timelines_.known())
      if (const auto end = lineage_.history(timeline).end_of(name.timeline());
          end && size_.start_of(*end) == name.start(size_))
        left_at = left_at ? std::min(*left_at, *end) : *end;
    for (const auto& offer : offers) {
      std::string what;
      try {
        const auto offset = meaningful_difference(archive_, files.front(), offer, size_, left_at);
        if (!offset) {
          ++result_.present;
          continue;
        }
        what = fmt::format("it differs from the archive's {} from {} on", files.front().to_string(),
                           name.start(size_) + *offset);
      } catch (const Error& error) {
        if (archive::is_gone(error)) continue;
        if (!is_of_the_file(error)) throw;
        what = error.what();
      }
      if (is_sound(name)) {
        // Ours is whole: is the other one damaged, or of another branch?
        const auto& own = files.front().to_string();
        const auto fresh = sound_in_itself(offer, cluster_);
        result_.left_out.push_back(
            {offer.path(), fresh ? Reason::conflict : Reason::not_sound, what,
             fresh ? fmt::format("Both are sound WAL: one of the two is of another branch. {} was "
                                 "not touched.",
                                 archive_.path_of(own))
                   : fmt::format("The archive's own file is sound, and this one is not.")});
        continue;
      }
      if (options_.replace_damaged) {
        facts_.damaged.insert(name);
        continue;
      }
      result_.left_out.push_back(
          {offer.path(), Reason::conflict,
           fmt::format("the archive has {}, which is damaged", files.front().to_string()),
           "With --replace-damaged it is replaced, if this one is sound and fits on both sides."});
    }
  }
}

/// Ours, with what lies before and behind it.
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
  for (const auto& [name, offers] : offers_.segments) facts_.offered.insert(name);
  facts_.extend = options_.extend;
  facts_.receiver = options_.receiver;
  if (options_.receiver && options_.durable_end) facts_.durable = options_.durable_end();
  plan_ = importing::make_plan(facts_, lineage_);
  if (!plan_.needs_lock && options_.release_lock) options_.release_lock();
  tell_places();
}

void Import::tell_places() {
  for (const auto& [name, offers] : offers_.segments) {
    switch (plan_.places.at(name)) {
      case Place::wanted:
      case Place::present:
        break;
      case Place::behind:
        leave_out(offers, Reason::not_asked_for,
                  options_.receiver ? "it is newer than what the receiver has made durable"
                                    : "it is newer than what the archive holds",
                  options_.receiver ? "The receiver fetches it itself."
                                    : "With --extend it comes in, too, while no receiver runs.");
        break;
      case Place::before:
        leave_out(offers, Reason::not_asked_for, "it is older than what the archive holds",
                  "With --extend it comes in, too.");
        break;
      case Place::not_on_way:
        leave_out(offers, Reason::not_asked_for,
                  fmt::format("no recovery needs it: timeline {} was left before its end",
                              name.timeline()));
        break;
      case Place::unknown_way:
        leave_out(offers, Reason::conflict,
                  fmt::format("timeline {} is no part of the archive's history", name.timeline()),
                  fmt::format("It is another branch of the cluster, or {} is missing: offer that, "
                              "too, or archive the branch in a directory of its own.",
                              wal::history_name(name.timeline())));
        break;
    }
  }
}

Judge Import::new_judge() {
  return Judge(archive_, lineage_,
               {.system_identifier = cluster_.system_identifier,
                .segment_size = size_,
                .durable_end = options_.durable_end,
                .stop = options_.stop});
}

void Import::judge() {
  auto judge = new_judge();
  for (const auto& run : plan_.runs)
    accept(run, judge.judge(run, offers_.segments, result_.left_out));
  // An archive without WAL begins with one row of segments, the newest.
  if (!listing_.segments.empty()) return;
  for (std::size_t i = 0; i + 1 < accepted_.size(); ++i)
    leave_out(accepted_[i].piece, Reason::not_sound,
              "segments are missing behind it: the archive would begin with a hole");
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
            range.begin <= name.start(size_) && name.start(size_) < range.end)
          return true;
  }
  return false;
}

/// Which pieces of a run may come in, by the sides on which they fit.
void Import::accept(const Run& run, std::vector<Piece> pieces) {
  for (auto& piece : pieces) {
    const auto first = piece.slots.front().name.segno(size_);
    const auto behind = piece.slots.back().name.segno(size_) + 1;
    const bool front = run.front && !is_expected_within(run, run.first, first);
    const bool back = run.back && !is_expected_within(run, behind, run.behind);
    const bool empty = run.front && run.back;
    Accepted accepted{std::move(piece), run.history.timeline()};
    const auto& [slots, left, right] = accepted.piece;
    accepted.from_right = run.front && !run.back;
    const bool whole = empty || ((left || front) && (right || back));
    const bool replaces = std::any_of(slots.begin(), slots.end(), [&](const Slot& slot) {
      return facts_.damaged.contains(slot.name);
    });
    if (!whole && (front || back)) {
      leave_out(accepted.piece, Reason::not_sound,
                "it does not reach what the archive holds: there would be a hole between",
                "Offer the segments between, too.");
      continue;
    }
    if (!whole && !left && !right) {
      leave_out(accepted.piece, Reason::not_sound,
                "nothing that the archive holds reaches to it, so nobody can vouch for it",
                "Offer the segments before or behind it, too.");
      continue;
    }
    if (!whole && replaces) {
      leave_out(accepted.piece, Reason::not_sound,
                "what is damaged is replaced only by what fits on both sides");
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

/// What we have of such a segment was acknowledged, as far as it is sound.
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
                fmt::format("{} differs from the archive's {} from {} on, which was acknowledged",
                            slot.offer.name.to_string(), entry.name.to_string(),
                            slot.name.start(size_) + *offset),
                "One of the two is of another branch. Nothing was touched.");
      return false;
    }
  }
  return true;
}

/// Idle servers write WAL of the same layout, so that even the links between records fit at a
/// border where no record crosses. But where a source has the segments beside it, too, they tell.
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
                fmt::format("beside it {} differs from the archive's {} from {} on", beside.path(),
                            ours->to_string(), name.start(size_) + *offset),
                "The two are of different branches, and so may be what was offered, although it "
                "fits. Nothing of it came in.");
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

void Import::publish() {
  for (const auto& accepted : accepted_) publish(accepted);
}

/// Each before the first segment of its timeline.
void Import::publish_histories() {
  std::set<wal::TimelineId> coming;
  for (const auto& accepted : accepted_)
    for (const auto& slot : accepted.piece.slots) coming.insert(slot.name.timeline());
  Publisher publisher(archive_, size_);
  for (const auto& wanted : histories_.wanted) {
    const auto timeline = wanted.history.timeline();
    if (wanted.with_segments_only && !coming.contains(timeline)) {
      result_.left_out.push_back(
          {wanted.path, Reason::not_asked_for, "none of its timeline's segments comes in"});
      continue;
    }
    const auto name = wal::history_name(timeline);
    if (!options_.dry_run && publisher.publish_history(wanted) == Publisher::Outcome::taken)
      continue;
    result_.came.push_back({name, wanted.path});
    if (!options_.dry_run && options_.came_in) options_.came_in(name, wanted.path);
  }
}

archive::Unvouched Import::unvouched_of(const Accepted& accepted) const {
  const auto& slots = accepted.piece.slots;
  archive::Unvouched unvouched;
  unvouched.timeline = accepted.timeline;
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
  const auto history = lineage_.history(accepted.timeline);
  // A prune that passes takes the neighbour: then ours would be the far side of a hole.
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
    // Between that look and the new name. One that passes later takes ours along.
    if (facts_.damaged.contains(slot.name) || still_wanted()) continue;
    archive_.remove(result_.came.back().name);
    archive_.sync();
    result_.left_out.push_back(
        {result_.came.back().from, Reason::not_asked_for, std::string(kPruned)});
    result_.came.pop_back();
    return;
  }
}

/// False: the others of the piece do not come in either.
bool Import::publish(const Slot& slot, const std::function<bool()>& still_wanted) {
  if (options_.stop && options_.stop(0))
    throw Error(ErrorKind::retry, "stopped before everything was published")
        .hint("What was published is whole; run the command again for the rest.");
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
            return false;  // somebody else mends it, too
          }
          result_.left_out.push_back(
              {from, Reason::conflict, "somebody else has put another file under its name"});
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

/// What an earlier import could not vouch for: by now the hole may be closed, by whatever means.
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
      "the hole beside it is closed, and it does not fit there: \"pgweir verify\" says where";
  return false;
}

std::optional<Piece> Import::judge_ours(const Run& run) {
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

/// In a dry run as if what is accepted had come in.
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
    for (const auto& range : loss.missing)
      result_.holes.push_back(fmt::format("{}: {} to {} on timeline {} ({}) is missing", loss.id(),
                                          range.begin, range.end, loss.timeline,
                                          format_size(range.end - range.begin)));
  }
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

}  // namespace

Reason Result::reason() const {
  auto worst = Reason::not_asked_for;
  for (const auto& each : left_out) worst = std::max(worst, each.reason);
  for (const auto& each : unvouched)
    if (each.complaint) worst = std::max(worst, Reason::not_sound);
  return worst;
}

Result import_wal(io::Directory& archive, const std::vector<Source>& sources,
                  const Options& options) {
  std::optional<archive::Upkeep> upkeep;
  if (!options.dry_run) upkeep.emplace(archive, archive::Upkeep::Kind::import);
  return Import(archive, sources, options).run();
}

}  // namespace weir::importing
