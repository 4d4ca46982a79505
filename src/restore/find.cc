#include "restore/find.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "archive/forms.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/look_again.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "base/buffer.h"
#include "base/error.h"
#include "restore/absence.h"
#include "restore/archives.h"
#include "restore/union_reader.h"
#include "wal/record_verifier.h"
#include "wal/transaction_end.h"

namespace weir::restore {

namespace {

using archive::SegmentFileName;
using wal::TransactionEnd;
using wal::TransactionObserver;
using Visit = TransactionObserver::Visit;

constexpr std::size_t kRead = std::size_t{256} << 10;  ///< bytes at once

/// Segments one after the other, by index: what one recovery can read. Behind it is a hole, or the
/// end.
struct Stretch {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The segments that a recovery along one history reads, in order.
class Path {
 public:
  Path(Archives& archives, const UnionReader::Unsound& unsound,
       std::optional<wal::TimelineId> timeline, const AskReceiver& durable_end);

  [[nodiscard]] const std::vector<Stretch>& stretches() const { return stretches_; }
  [[nodiscard]] wal::TimelineId timeline() const { return timeline_; }
  [[nodiscard]] std::string file(std::size_t i) const { return files_[i].to_string(); }
  [[nodiscard]] wal::TimelineId timeline_of(std::size_t i) const {
    return files_[i].segment.timeline();
  }
  [[nodiscard]] bool unfinished(std::size_t i) const { return files_[i].partial; }
  [[nodiscard]] wal::Lsn start(std::size_t i) const { return files_[i].segment.start(size_); }
  [[nodiscard]] wal::Lsn behind(std::size_t i) const { return start(i) + size_.bytes(); }
  /// Index of the segment with this byte; nullopt if there is none.
  [[nodiscard]] std::optional<std::size_t> index_of(wal::Lsn lsn) const;
  /// The hole after a stretch; nullopt if there is none. Reads the segment before it if that is
  /// partial.
  [[nodiscard]] std::optional<Hole> hole_behind(std::size_t stretch) const;
  /// The same by names: its first byte is not known as exactly.
  [[nodiscard]] bool ends_in_hole(std::size_t stretch) const {
    return stretch + 1 < stretches_.size() || hole_at_end_.has_value();
  }
  /// Every transaction's end from segment `from` on to the end of its stretch, until `visit`
  /// returns false. Returns the end of the last record that was read.
  wal::Lsn scan(std::size_t from, const Visit& visit) const;

  /// Which segments there are, and what is between them.
  [[nodiscard]] bool same_names(const Path& other) const;

 private:
  [[nodiscard]] const Stretch& stretch_of(std::size_t i) const;
  void find_stretches(const std::vector<KnownHole>& holes);
  void find_padded(const archive::Listing& listing);
  [[nodiscard]] UnionReader::Options reader_options() const {
    return {.segment_size = size_,
            .timeline = history_->timeline(),
            .history = *history_,
            .unfinished = true,
            .durable_end = durable_end_,
            .unsound = &unsound_};
  }

  Archives& archives_;
  const UnionReader::Unsound& unsound_;
  const AskReceiver& durable_end_;
  wal::TimelineId timeline_ = 0;
  wal::SegmentSize size_;
  std::uint64_t system_identifier_ = 0;
  std::optional<wal::TimelineHistory> history_;
  std::vector<SegmentFileName> files_;
  std::vector<Stretch> stretches_;
  std::optional<KnownHole> hole_at_end_;  ///< with a record only
  /// The last segment, if it was published before it was complete.
  std::optional<archive::WalSource::Padded> padded_;
};

std::unique_ptr<const Path> look(Archives& archives, const UnionReader::Unsound& unsound,
                                 std::optional<wal::TimelineId> timeline,
                                 const AskReceiver& durable_end) {
  const auto look_once = [&] {
    archives.forget();
    return std::make_unique<const Path>(archives, unsound, timeline, durable_end);
  };
  return archive::list_until_same(
      look_once, [](const auto& one, const auto& other) { return one->same_names(*other); });
}

/// The segment being read is not valid; another archive's copy may be.
class UnsoundCopy final : public ErrorAs<UnsoundCopy> {
 public:
  UnsoundCopy(const Error& error, Copy copy) : ErrorAs(error), which(copy) {}
  Copy which;
};

/// Runs `find` with a path, and again if a segment's name or format changed meanwhile, or with
/// another archive's copy of an invalid one.
template <typename Find>
std::optional<Moment> while_it_changes(Shelves shelves, std::optional<wal::TimelineId> timeline,
                                       const AskReceiver& durable_end, Log& log, Find find) {
  const Options options;
  Archives archives(shelves, options, log);
  UnionReader::Unsound unsound;
  for (int i = 1;; ++i) {
    try {
      auto moment = find(*look(archives, unsound, timeline, durable_end));
      for (std::size_t each = 0; each < archives.count(); ++each)
        if (archives.silent(each))
          log.warning("{} does not answer, so the result does not include it: {}",
                      archives.shelf(each).path(), archives.silence(each)->what());
      return moment;
    } catch (const UnsoundCopy& error) {
      const auto segment = error.which.name.segment;
      unsound.emplace(error.which.archive, error.which.name.to_string());
      if (!other_copy_exists(archives, segment, unsound)) throw;
      log.error(error);
      i = 0;
    } catch (const Error& error) {
      if (!archive::is_gone(error) || i == archive::kMostLooksAtArchive) throw;
    }
  }
}

/// Fills in the target's timeline, and the holes and partial segments that a recovery up to the
/// moment meets.
void add_way(Moment& moment, const Path& path, std::size_t stretch) {
  moment.target_timeline = moment.timeline;
  if (stretch > 0) moment.backup_from = path.start(path.stretches()[stretch].begin);
  if (!moment.after) moment.hole = path.hole_behind(stretch);
  if (!moment.before) return;
  // The server reads ahead of what it replays (recovery_prefetch), by far less than this, and a
  // segment in one go.
  constexpr std::uint64_t kReadsAhead = std::uint64_t{64} << 20;
  const auto last = path.index_of(wal::Lsn(moment.before->end.byte() - 1));
  const auto end = path.behind(path.stretches()[stretch].end - 1);
  if (last) moment.target_timeline = path.timeline_of(*last);
  const bool unfinished = last && path.unfinished(*last);
  if (path.ends_in_hole(stretch))
    moment.needs_up_to_hole = unfinished || end - moment.before->end <= kReadsAhead;
  moment.needs_partial = unfinished && !moment.needs_up_to_hole;
}

std::optional<Moment> find_lsn_in(const Path& path, wal::Lsn lsn) {
  for (std::size_t s = 0; s < path.stretches().size(); ++s) {
    const auto& stretch = path.stretches()[s];
    if (lsn < path.start(stretch.begin)) return std::nullopt;
    auto index = path.index_of(lsn);
    if (index && *index >= stretch.end) continue;
    Moment moment{.timeline = path.timeline()};
    if (!index) {
      const auto hole = path.hole_behind(s);
      if (!hole) return std::nullopt;
      if (lsn >= hole->end) continue;
      index = stretch.end - 1;
      moment.in_hole = true;
    }
    moment.segment = path.file(*index);
    // Backwards until there is a commit before it, in growing steps.
    for (std::size_t back = 0;; back = back * 2 + 1) {
      const auto from = std::max(stretch.begin, *index - std::min(back, *index));
      moment.before = moment.after = std::nullopt;
      const auto end = path.scan(from, [&](const TransactionEnd& transaction) {
        if (transaction.aborted) return true;
        if (transaction.commit.end <= lsn)
          moment.before = transaction.commit;
        else
          moment.after = transaction.commit;
        return !moment.after;
      });
      if (!moment.before && from != stretch.begin) continue;
      add_way(moment, path, s);
      if (moment.hole && !moment.after && lsn >= end && lsn >= moment.hole->begin)
        moment.in_hole = true;
      return moment;
    }
  }
  return std::nullopt;
}

/// Within one stretch; without `before` the time precedes its first commit.
std::optional<Moment> find_time_in(const Path& path, const Stretch& stretch, PgTime time) {
  // First segment [low, high) from which on the first transaction's end is later than `time`.
  auto low = stretch.begin;
  auto high = stretch.end;
  while (low < high) {
    const auto middle = low + (high - low) / 2;
    std::optional<PgTime> first;
    path.scan(middle, [&](const TransactionEnd& end) {
      first = end.commit.time;
      return false;
    });
    if (first && *first <= time)
      low = middle + 1;
    else
      high = middle;
  }
  // Transactions write their time and their record in two steps: neighbors may be out of order.
  constexpr std::size_t kSafety = 1;
  std::optional<TransactionEnd> stop;
  for (std::size_t back = kSafety + 1;; back *= 2) {
    Moment moment{.timeline = path.timeline()};
    const auto from = std::max(stretch.begin, low - std::min(back, low));
    stop = std::nullopt;
    path.scan(from, [&](const TransactionEnd& end) {
      if (!stop && end.commit.time > time) stop = end;
      if (end.aborted) return true;
      (stop ? moment.after : moment.before) = end.commit;
      return !moment.after;
    });
    if (!moment.before && from != stretch.begin) continue;
    if (!moment.before && !moment.after) return std::nullopt;
    const auto at = moment.before ? moment.before->start : stop->commit.start;
    if (const auto index = path.index_of(at)) moment.segment = path.file(*index);
    return moment;
  }
}

}  // namespace

std::optional<Moment> find_lsn(Shelves archives, wal::Lsn lsn,
                               std::optional<wal::TimelineId> timeline,
                               const AskReceiver& durable_end, Log& log) {
  return while_it_changes(archives, timeline, durable_end, log,
                          [&](const Path& path) { return find_lsn_in(path, lsn); });
}

namespace {

/// Recorded losses selected by `chosen`, ordered by start, each once.
std::vector<archive::Loss> losses_of(Archives& archives,
                                     const std::function<bool(const archive::Loss&)>& chosen) {
  std::map<std::string, archive::Loss> lost;
  archives.ask_each([&](std::size_t i) {
    for (auto& loss : archive::read_losses(archives.shelf(i), archives.at(i).listing()))
      if (chosen(loss)) lost.try_emplace(loss.id(), std::move(loss));
  });
  std::vector<archive::Loss> in_order;
  for (auto& [id, loss] : lost) in_order.push_back(std::move(loss));
  std::stable_sort(in_order.begin(), in_order.end(),
                   [](const auto& left, const auto& right) { return left.begin < right.begin; });
  return in_order;
}

}  // namespace

std::vector<archive::Loss> lost_branches(Shelves shelves, const Moment& moment, Log& log) {
  const Options options;
  Archives archives(shelves, options, log);
  return losses_of(archives, [&](const archive::Loss& loss) {
    return loss.kind == archive::Loss::Kind::lost_branch && loss.timeline < moment.timeline;
  });
}

std::vector<archive::Loss> minimal_wal(Shelves shelves, const Moment& moment, Log& log) {
  const Options options;
  Archives archives(shelves, options, log);
  const auto history =
      archives.timelines().history(moment.timeline).value_or(wal::TimelineHistory(moment.timeline));
  return losses_of(archives,
                   [&](const archive::Loss& loss) { return archive::lies_on(loss, history); });
}

std::optional<Moment> find_time(Shelves archives, PgTime time,
                                std::optional<wal::TimelineId> timeline,
                                const AskReceiver& durable_end, Log& log) {
  return while_it_changes(archives, timeline, durable_end, log,
                          [&](const Path& path) -> std::optional<Moment> {
                            // From the newest stretch down: the first one that has a commit of that
                            // time or before.
                            std::optional<Moment> earliest;
                            for (auto s = path.stretches().size(); s-- > 0;) {
                              auto moment = find_time_in(path, path.stretches()[s], time);
                              if (!moment) continue;
                              add_way(*moment, path, s);
                              if (moment->before) return moment;
                              earliest = std::move(moment);
                            }
                            return earliest;
                          });
}

namespace {

Path::Path(Archives& archives, const UnionReader::Unsound& unsound,
           std::optional<wal::TimelineId> timeline, const AskReceiver& durable_end)
    : archives_(archives), unsound_(unsound), durable_end_(durable_end) {
  const auto identity = archives.identity();
  if (!identity) archives.require_answers("any WAL");
  const auto& listing = archives.listing();
  const bool finished = std::any_of(listing.segments.begin(), listing.segments.end(),
                                    [](const auto& entry) { return !entry.name.partial; });
  if (!identity && finished)
    throw system_error(ENOENT, "the segments were removed").with("directory", archives.paths());
  if (!identity)
    throw Error(ErrorKind::gap, "there is no WAL in the archive directory")
        .with("directory", archives.paths())
        .hint("Check that the file system is mounted, and that it is the right directory.");
  size_ = identity->segment_size;
  system_identifier_ = identity->system_identifier;
  timeline_ = timeline.value_or(listing.segments.back().name.segment.timeline());
  const auto timelines = archives.timelines();
  history_ = timelines.history(timeline_);
  if (!history_)
    throw Error(ErrorKind::damage, "the history of the timeline cannot be read")
        .with("file", archives.shelf(0).path_of(wal::history_name(timeline_)));

  std::map<std::uint64_t, SegmentFileName> files;
  for (const auto& forms : archive::segment_forms(listing)) {
    const auto segment = forms.segment();
    if (!segment.fits(size_) || !history_->contains(segment.timeline())) continue;
    const auto segno = segment.segno(size_);
    if (archive::timeline_of_segment(*history_, segno, size_) != segment.timeline()) continue;
    files.emplace(segno, forms.best().name);
  }
  for (const auto& [segno, name] : files) files_.push_back(name);
  find_stretches(archives.known_holes(size_));
  if (!files_.empty() && !files_.back().partial && !hole_at_end_) find_padded(listing);
}

/// The zeros of a segment that "pgweir store publish-partial" has uploaded are the end of the WAL
/// only after the last segment: restore delivers no other. The archive's own partial file may
/// continue after it, and is delivered with --partial.
void Path::find_padded(const archive::Listing& listing) {
  const auto segment = files_.back().segment;
  // Another archive may have the complete one.
  std::size_t copies = 0;
  archives_.ask_each([&](std::size_t i) {
    for (const auto& name : archive::finished_names(segment))
      if (const auto file = name.to_string();
          !unsound_.contains({i, file}) && archives_.shelf(i).find(file))
        ++copies;
  });
  if (copies > 1) return;
  padded_ = UnionReader(archives_, reader_options()).padded(segment.start(size_));
  if (!padded_ || !padded_->continues) return;
  files_.back().partial = true;  // (a store does not list it if there is a complete one)
  for (const auto& forms : archive::segment_forms(listing))
    if (forms.segment() == segment && !forms.partial.empty())
      files_.back() = forms.partial.front().name;
}

void Path::find_stretches(const std::vector<KnownHole>& holes) {
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const bool recorded = std::any_of(holes.begin(), holes.end(), [&](const KnownHole& hole) {
      return hole.end == start(i) && hole.next_timeline == files_[i].segment.timeline();
    });
    // The first of two consecutive partial segments may be complete, so it is read.
    const bool goes_on = i > 0 && behind(i - 1) == start(i) && !recorded &&
                         (!files_[i - 1].partial || files_[i].partial);
    if (goes_on)
      stretches_.back().end = i + 1;
    else
      stretches_.push_back({i, i + 1});
  }
  for (const KnownHole& hole : holes)
    if (history_->contains(hole.next_timeline) && !files_.empty() &&
        hole.end >= behind(files_.size() - 1) &&
        archive::timeline_of_segment(*history_, size_.segno(hole.end), size_) == hole.next_timeline)
      hole_at_end_ = hole;
}

std::optional<Hole> Path::hole_behind(std::size_t stretch) const {
  if (!ends_in_hole(stretch)) return std::nullopt;
  const auto last = stretches_[stretch].end - 1;
  Hole hole;
  if (stretch + 1 < stretches_.size()) {
    const auto next = stretches_[stretch + 1].begin;
    hole.end = start(next);
    hole.next_timeline = files_[next].segment.timeline();
  } else {
    hole.end = hole_at_end_->end;
    hole.next_timeline = hole_at_end_->next_timeline;
  }
  hole.begin = behind(last);
  if (files_[last].partial)
    hole.begin = std::max(start(last), scan(last, [](const TransactionEnd&) { return true; }));
  // Whole, and only without its final name.
  if (hole.begin >= hole.end) return std::nullopt;
  return hole;
}

bool Path::same_names(const Path& other) const {
  const auto same = [](const auto& left, const auto& right, auto equal) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end(), equal);
  };
  return same(files_, other.files_,
              [](const auto& left, const auto& right) { return left.segment == right.segment; }) &&
         same(stretches_, other.stretches_, [](const auto& left, const auto& right) {
           return left.begin == right.begin && left.end == right.end;
         });
}

std::optional<std::size_t> Path::index_of(wal::Lsn lsn) const {
  const auto found = std::partition_point(
      files_.begin(), files_.end(),
      [&](const SegmentFileName& name) { return name.segment.segno(size_) < size_.segno(lsn); });
  if (found == files_.end() || found->segment.segno(size_) != size_.segno(lsn)) return std::nullopt;
  return static_cast<std::size_t>(found - files_.begin());
}

const Stretch& Path::stretch_of(std::size_t i) const {
  return *std::find_if(stretches_.begin(), stretches_.end(),
                       [&](const Stretch& stretch) { return i < stretch.end; });
}

wal::Lsn Path::scan(std::size_t from, const Visit& visit) const {
  TransactionObserver observer(visit);
  wal::RecordVerifier verifier({.segment_size = size_,
                                .timeline = history_->timeline(),
                                .system_identifier = system_identifier_,
                                .observer = &observer,
                                .history = &*history_},
                               start(from));
  UnionReader reader(archives_, reader_options());
  // From now on it reads the partial file in its place.
  if (padded_ && padded_->continues)
    static_cast<void>(reader.padded(files_.back().segment.start(size_)));
  const auto end = behind(stretch_of(from).end - 1);
  Buffer buffer(kRead);
  while (verifier.position() < end) {
    const auto read = reader.read(verifier.position(), buffer);
    const auto& name = files_[*index_of(verifier.position())];
    if (read.state == archive::WalSource::State::end) break;  // a partial one
    if (read.state == archive::WalSource::State::gone)
      throw system_error(ENOENT, "the segment file is gone").with("file", name.to_string());
    if (read.state == archive::WalSource::State::damaged) {
      if (name.partial) break;
      // All existing copies: each was read.
      throw Error(*read.error);
    }
    const auto damage = verifier.feed(std::span(buffer).first(read.count));
    if (observer.done()) break;
    const auto copy = reader.copy().value_or(Copy{0, name});
    const auto& file = copy.name;
    if (verifier.unchecked())
      throw Error(ErrorKind::refused, "the WAL is of a newer PostgreSQL than this pgweir knows")
          .with("file", file.to_string());
    if (damage && padded_ && damage->at >= padded_->end) break;
    if (damage && !file.partial)
      throw UnsoundCopy(Error(ErrorKind::damage, "damaged WAL: " + damage->what)
                            .with("file", archives_.path_of(copy))
                            .with("LSN", damage->at)
                            .hint("\"pgweir verify\" shows which WAL of the archive is sound."),
                        copy);
    if (damage) break;
  }
  return verifier.last_record_end();
}

}  // namespace

}  // namespace weir::restore
