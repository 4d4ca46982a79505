#include "restore/find.h"

#include <algorithm>
#include <map>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "archive/transaction_end.h"
#include "base/error.h"
#include "wal/record_verifier.h"

namespace weir::restore {

namespace {

using archive::SegmentFileName;
using archive::TransactionEnd;
using archive::TransactionObserver;
using Visit = TransactionObserver::Visit;

/// The segments that a recovery along one history reads, in order.
class Path {
 public:
  Path(io::Directory& archive, std::optional<wal::TimelineId> timeline);

  [[nodiscard]] bool empty() const { return files_.empty(); }
  [[nodiscard]] std::size_t size() const { return files_.size(); }
  [[nodiscard]] wal::TimelineId timeline() const { return timeline_; }
  [[nodiscard]] std::string file(std::size_t i) const { return files_[i].to_string(); }
  [[nodiscard]] wal::Lsn start(std::size_t i) const { return files_[i].segment.start(size_); }
  [[nodiscard]] std::uint64_t segment_bytes() const { return size_.bytes(); }
  /// Index of the segment with this byte; nullopt if it is not there.
  [[nodiscard]] std::optional<std::size_t> index_of(wal::Lsn lsn) const;
  /// Every transaction's end from segment `from` on, until `visit` returns false or the next
  /// segment is missing.
  void scan(std::size_t from, const Visit& visit) const;

 private:
  io::Directory& archive_;
  wal::TimelineId timeline_ = 0;
  wal::SegmentSize size_;
  std::uint64_t system_identifier_ = 0;
  std::optional<wal::TimelineHistory> history_;
  std::vector<SegmentFileName> files_;
};

}  // namespace

std::optional<Moment> find_lsn(io::Directory& archive, wal::Lsn lsn,
                               std::optional<wal::TimelineId> timeline) {
  const Path path(archive, timeline);
  const auto index = path.index_of(lsn);
  if (!index) return std::nullopt;
  Moment moment{path.timeline(), path.file(*index), {}, {}};
  // Backwards until there is a commit before it, in growing steps.
  for (std::size_t back = 0;; back = back * 2 + 1) {
    const auto from = *index - std::min(back, *index);
    moment.before = moment.after = std::nullopt;
    path.scan(from, [&](const TransactionEnd& end) {
      if (end.aborted) return true;
      if (end.commit.end <= lsn)
        moment.before = end.commit;
      else
        moment.after = end.commit;
      return !moment.after;
    });
    if (moment.before || from == 0) return moment;
  }
}

std::optional<Moment> find_time(io::Directory& archive, PgTime time,
                                std::optional<wal::TimelineId> timeline) {
  const Path path(archive, timeline);
  // First segment [low, high) from which on the first transaction's end is later than `time`.
  std::size_t low = 0;
  std::size_t high = path.size();
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
  // Transactions write their time and their record in two steps: neighbours may be out of order.
  constexpr std::size_t kSafety = 1;
  std::optional<TransactionEnd> stop;
  for (std::size_t back = kSafety + 1;; back *= 2) {
    Moment moment{path.timeline(), {}, {}, {}};
    const auto from = low - std::min(back, low);
    stop = std::nullopt;
    if (path.empty()) return std::nullopt;
    path.scan(from, [&](const TransactionEnd& end) {
      if (!stop && end.commit.time > time) stop = end;
      if (end.aborted) return true;
      (stop ? moment.after : moment.before) = end.commit;
      return !moment.after;
    });
    if (!moment.before && from != 0) continue;
    if (!moment.before && !moment.after) return std::nullopt;
    const auto at = stop ? stop->commit.start : moment.before->start;
    if (const auto index = path.index_of(at)) moment.segment = path.file(*index);
    return moment;
  }
}

namespace {

Path::Path(io::Directory& archive, std::optional<wal::TimelineId> timeline) : archive_(archive) {
  const auto listing = archive::list_archive_names(archive);
  const auto identity = archive::read_identity(archive, listing);
  if (!identity)
    throw Error(ErrorKind::gap, "there is no WAL in the archive directory")
        .with("directory", archive.path())
        .hint("Is its file system mounted, and is it the right directory?");
  size_ = identity->segment_size;
  system_identifier_ = identity->system_identifier;
  timeline_ = timeline.value_or(listing.segments.back().name.segment.timeline());
  const auto timelines = archive::Timelines::read(archive, listing);
  history_ = timelines.history(timeline_);
  if (!history_)
    throw Error(ErrorKind::damage, "the history of the timeline cannot be read")
        .with("file", archive.path() + "/" + wal::history_name(timeline_));

  // Of the forms of one segment the first listed; a .partial only where there is no finished one.
  std::map<std::uint64_t, SegmentFileName> files;
  for (const auto& entry : listing.segments) {
    const auto& segment = entry.name.segment;
    if (!segment.fits(size_) || !history_->contains(segment.timeline())) continue;
    const auto segno = segment.segno(size_);
    if (archive::timeline_of_segment(*history_, segno, size_) != segment.timeline()) continue;
    const auto [found, added] = files.emplace(segno, entry.name);
    if (!added && found->second.partial && !entry.name.partial) found->second = entry.name;
  }
  for (const auto& [segno, name] : files) files_.push_back(name);
}

std::optional<std::size_t> Path::index_of(wal::Lsn lsn) const {
  const auto found = std::partition_point(
      files_.begin(), files_.end(),
      [&](const SegmentFileName& name) { return name.segment.segno(size_) < size_.segno(lsn); });
  if (found == files_.end() || found->segment.segno(size_) != size_.segno(lsn)) return std::nullopt;
  return static_cast<std::size_t>(found - files_.begin());
}

void Path::scan(std::size_t from, const Visit& visit) const {
  if (from >= files_.size()) return;
  struct Enough {};
  TransactionObserver observer(visit);
  const auto first_file_timeline = history_->timeline();
  wal::RecordVerifier verifier({.segment_size = size_,
                                .timeline = first_file_timeline,
                                .system_identifier = system_identifier_,
                                .observer = &observer,
                                .history = &*history_},
                               start(from));
  for (auto i = from; i < files_.size(); ++i) {
    if (verifier.position() != start(i)) return;  // a hole; recovery would not get over it
    std::optional<wal::Damage> damage;
    try {
      archive::read_segment(archive_, files_[i], size_, [&](std::span<const std::byte> wal) {
        damage = verifier.feed(wal);
        if (damage || observer.done()) throw Enough{};
      });
    } catch (const Enough&) {
    } catch (const Error& error) {
      if (!files_[i].partial || error.kind() != ErrorKind::damage) throw;
    }
    if (observer.done()) return;
    if (verifier.unchecked())
      throw Error(ErrorKind::refused, "the WAL is of a newer server than this pgweir knows")
          .with("file", file(i));
    if (damage && !files_[i].partial)
      throw Error(ErrorKind::damage, "damaged WAL: " + damage->what)
          .with("file", archive_.path() + "/" + file(i))
          .with("LSN", damage->at)
          .hint("pgweir verify shows what of the archive is sound.");
    if (damage) return;
  }
}

}  // namespace

}  // namespace weir::restore
