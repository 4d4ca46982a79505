#include "prune/archive_wal.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <span>

#include "archive/backup_checkpoint.h"
#include "archive/find_losses.h"
#include "archive/losses.h"
#include "archive/unvouched.h"
#include "archive/wal_reader.h"
#include "base/error.h"
#include "wal/records.h"
#include "wal/transaction_end.h"

namespace weir::prune {

namespace {

constexpr std::size_t kRead = std::size_t{256} << 10;  ///< bytes at once

/// Waits for the end of the backup that began at `start`.
class EndWatch final : public wal::RecordObserver {
 public:
  explicit EndWatch(wal::Lsn start) : start_(start) {}
  bool wants(const wal::RecordHeader& header) override {
    return wal::is_xlog(header, wal::XlogRecord::backup_end);
  }
  [[nodiscard]] bool needs_xlog_only() const override { return true; }
  void on_record(wal::Lsn /*start*/, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (!found && wants(header) && wal::start_of_ended_backup(body) == start_) found = end;
  }
  std::optional<wal::Lsn> found;

 private:
  const wal::Lsn start_;
};

class NoWatch final : public wal::RecordObserver {
 public:
  bool wants(const wal::RecordHeader& /*header*/) override { return false; }
  [[nodiscard]] bool needs_xlog_only() const override { return true; }
  void on_record(wal::Lsn /*start*/, wal::Lsn /*end*/, const wal::RecordHeader& /*header*/,
                 std::span<const std::byte> /*body*/) override {}
};

/// True for a segment that exists only as a partial segment.
bool only_unfinished(const archive::Listing& listing, wal::SegmentName segment) {
  return std::any_of(listing.segments.begin(), listing.segments.end(), [&](const auto& entry) {
    return entry.name.segment == segment && entry.name.partial;
  });
}

/// Imported WAL may be that of another branch, as long as its boundary was not verified.
void divide_at_unvouched_borders(Line& line, const std::vector<archive::Unvouched>& unvouched) {
  const auto divide_at = [&](wal::Lsn border) {
    for (std::size_t i = 0; i < line.stretches.size(); ++i) {
      const auto stretch = line.stretches[i];
      if (border <= stretch.begin || border >= stretch.end) continue;
      line.stretches[i].end = border;
      line.stretches.insert(line.stretches.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                            {border, stretch.end});
      return;
    }
  };
  for (const auto& part : unvouched) {
    if (!line.history.contains(part.timeline)) continue;
    if (part.left) divide_at(part.begin);
    if (part.right) divide_at(part.end);
  }
}

/// No recovery passes WAL that was written with wal_level=minimal: what a backup from before it can
/// be recovered to ends there.
void cut_at_minimal_wal(Line& line, const std::vector<archive::Loss>& losses) {
  std::vector<Stretch> cut;
  for (const auto& stretch : line.stretches)
    for (const auto& piece :
         archive::without_minimal_wal({stretch.begin, stretch.end}, line.history, losses))
      cut.push_back({piece.begin, piece.end});
  line.stretches = std::move(cut);
}

}  // namespace

/// The end of the readable records, and why it ends there.
struct ArchiveWal::Scan {
  wal::Lsn end;                         ///< of the last record
  std::optional<std::string> damage{};  ///< nullopt: enough, or the end of what there is
};

ArchiveWal::ArchiveWal(io::Shelf& archive, std::function<bool()> stop)
    : archive_(archive), stop_(std::move(stop)) {
  const auto listing = archive::list_archive_names(archive);
  identity_ = archive::read_identity(archive, listing);
  if (identity_) find_lines(listing);
}

void ArchiveWal::find_lines(const archive::Listing& listing) {
  const auto& size = identity_->segment_size;
  const auto timelines = archive::Timelines::read(archive_, listing);
  const auto losses = archive::read_losses(archive_, listing);
  const auto unvouched = archive::read_unvouched(archive_, listing);
  std::set<wal::TimelineId> with_segments;
  for (const auto& entry : listing.segments)
    if (entry.name.segment.fits(size)) with_segments.insert(entry.name.segment.timeline());
  for (const auto timeline : with_segments) {
    const auto history = timelines.history(timeline);
    if (!history)
      throw Error(ErrorKind::damage, "the history of a timeline cannot be read")
          .with("file", archive_.path_of(wal::history_name(timeline)))
          .hint(
              "Nothing was removed, because it is unknown which backups are usable on this "
              "timeline. Copy the file from the pg_wal of a server of this timeline.");
    Line line{*history, {}};
    for (const auto& range : archive::ranges_along(listing, *history, size))
      line.stretches.push_back({range.begin, range.end});
    // The WAL being received continues from there, unless there is a hole between. (A hole of
    // another branch at the same positions does not count.)
    const auto behind_hole = [&](wal::Lsn at) {
      return std::any_of(losses.begin(), losses.end(), [&](const archive::Loss& loss) {
        if (loss.kind != archive::Loss::Kind::hole || at < loss.begin || at > loss.end)
          return false;
        const auto& missing = loss.missing;  // an import may have filled the rest
        if (!missing.empty() && std::none_of(missing.begin(), missing.end(), [&](const auto& part) {
              return part.begin <= at && at <= part.end;
            }))
          return false;
        const auto needed = archive::needed_along(loss, *history, timelines, size);
        return std::any_of(needed.begin(), needed.end(),
                           [&](const auto& part) { return part.begin <= at && at <= part.end; });
      });
    };
    const auto unfinished_at = [&](wal::Lsn at) {
      const auto segno = size.segno(at);
      return only_unfinished(
          listing,
          wal::SegmentName(archive::timeline_of_segment(*history, segno, size), segno, size));
    };
    if (line.stretches.empty()) {
      for (const auto& entry : listing.segments)
        if (entry.name.segment.timeline() == timeline && entry.name.segment.fits(size) &&
            line.stretches.empty())
          line.stretches.push_back(
              {entry.name.segment.start(size), entry.name.segment.start(size)});
    }
    auto& end = line.stretches.back().end;
    while (!behind_hole(end) && unfinished_at(end)) end = end + size.bytes();
    divide_at_unvouched_borders(line, unvouched);
    cut_at_minimal_wal(line, losses);
    lines_.push_back(std::move(line));
  }
}

ArchiveWal::Scan ArchiveWal::scan(const Line& line, const Stretch& stretch, wal::Lsn from,
                                  wal::RecordObserver& observer,
                                  const std::function<bool(wal::Lsn)>& enough) {
  const auto& size = identity_->segment_size;
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = line.history.timeline(),
                                .system_identifier = identity_->system_identifier,
                                .observer = &observer,
                                .history = &line.history},
                               size.start_of(from));
  archive::WalReader reader(archive_, {.segment_size = size,
                                       .timeline = line.history.timeline(),
                                       .history = line.history,
                                       .unfinished = true});
  std::vector<std::byte> buffer(kRead);
  while (verifier.position() < stretch.end && !enough(verifier.last_record_end())) {
    if (stop_ && stop_())
      throw Error(ErrorKind::retry, "stopped before anything was decided")
          .hint("Nothing was removed; run the command again.");
    const auto read = reader.read(verifier.position(), buffer);
    if (read.state == archive::WalSource::State::end) break;
    if (read.state == archive::WalSource::State::gone)
      return {verifier.last_record_end(),
              fmt::format("segment {} is gone", reader.segment_at(verifier.position()))};
    if (read.state == archive::WalSource::State::damaged) {
      if (const auto file = reader.file(); file && file->partial) break;
      return {verifier.last_record_end(), read.error->what()};
    }
    const auto damage = verifier.feed(std::span(buffer).first(read.count));
    if (verifier.unchecked())
      throw Error(ErrorKind::refused, "the WAL is of a newer PostgreSQL than this pgweir knows")
          .with("file", reader.file()->to_string())
          .hint("Nothing was removed. Use --keep-from-backup alone, or a newer pgweir.");
    // The last one may be written only up to here.
    if (damage && reader.file()->partial) break;
    if (damage)
      return {verifier.last_record_end(),
              fmt::format("{} at {} in {}", damage->what, damage->at, reader.file()->to_string())};
  }
  return {verifier.last_record_end()};
}

/// Its time, as that of a backup that ends at `at`.
WalOfBackup ArchiveWal::first_commit(const Line& line, const Stretch& stretch, wal::Lsn at) {
  WalOfBackup found;
  wal::TransactionObserver observer([&](const wal::TransactionEnd& end) {
    if (!end.aborted && end.commit.start >= at) found.time = end.commit.time;
    return !found.time;
  });
  const auto read =
      scan(line, stretch, at, observer, [&](wal::Lsn) { return found.time.has_value(); });
  // A clock that was set back does not make later commits older than earlier ones.
  if (found.time)
    found.time = std::max(*found.time, latest_before(line, stretch, at).value_or(*found.time));
  if (!found.time && read.damage) {
    found.state = WalOfBackup::State::damaged;
    found.what = *read.damage;
  }
  return found;
}

/// The first commits of segments before that position, each twice as far back as the one before:
/// the latest of their times. However long the clock was wrong, one of them precedes that.
std::optional<wal::PgTime> ArchiveWal::latest_before(const Line& line, const Stretch& stretch,
                                                     wal::Lsn at) {
  const auto& size = identity_->segment_size;
  std::optional<wal::PgTime> latest;
  const auto first = size.segno(stretch.begin);
  for (std::uint64_t back = 1; size.segno(at) >= first + back; back *= 2) {
    std::optional<wal::PgTime> time;
    wal::TransactionObserver observer([&](const wal::TransactionEnd& end) {
      if (!end.aborted) time = end.commit.time;
      return !time;
    });
    const auto from = size.start(size.segno(at) - back);
    static_cast<void>(scan(line, {stretch.begin, at}, from, observer,
                           [&](wal::Lsn) { return time.has_value(); }));
    if (time && (!latest || *time > *latest)) latest = time;
  }
  return latest;
}

NewestCommit ArchiveWal::newest_commit(const Line& line, const Stretch& stretch) {
  const auto [known, is_new] = newest_.try_emplace({line.history.timeline(), stretch.begin});
  auto& newest = known->second;
  if (!is_new || stretch.begin == stretch.end) return newest;
  const auto& size = identity_->segment_size;
  const auto first = size.segno(stretch.begin);
  const auto last = size.segno(wal::Lsn(stretch.end.byte() - 1));
  // Backwards until there is one, in growing steps.
  for (std::uint64_t back = 1;; back *= 2) {
    const auto from = last - std::min(back, last - first);
    wal::TransactionObserver observer([&](const wal::TransactionEnd& end) {
      if (!end.aborted && (!newest.time || end.commit.time > *newest.time))
        newest.time = end.commit.time;
      return true;
    });
    const auto read =
        scan(line, stretch, size.start(from), observer, [](wal::Lsn) { return false; });
    newest.unsure = newest.unsure || read.damage.has_value();
    if (newest.time)
      newest.time = std::max(*newest.time,
                             latest_before(line, stretch, size.start(last)).value_or(*newest.time));
    if (newest.time || from == first) return newest;
  }
}

std::optional<std::string> ArchiveWal::why_stranger(const archive::BackupPoint& point) {
  if (point.system_identifier != 0 && identity_->system_identifier != 0 &&
      point.system_identifier != identity_->system_identifier)
    return fmt::format("it is of another cluster ({}, the archive is of {})",
                       point.system_identifier, identity_->system_identifier);
  try {
    archive::require_agreement(point, identity_->segment_size);
    // (A checkpoint that cannot be read is found when the backup's WAL is.)
    static_cast<void>(archive::require_checkpoint(archive_, point, identity_->segment_size));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::conflict) throw;
    return error.message();
  }
  return std::nullopt;
}

WalOfBackup ArchiveWal::look(const FoundBackup& backup, const Line& line, const Stretch& stretch,
                             std::optional<wal::PgTime> until) {
  using State = WalOfBackup::State;
  const auto& point = *backup.point;
  if (const auto why = why_stranger(point)) return {.state = State::stranger, .what = *why};
  // Its end is later than its start.
  if (until && point.began && *point.began > *until) return {.time = point.began};
  if (!point.end) return find_end(backup, line, stretch);
  auto found = first_commit(line, stretch, *point.end);
  if (until && (found.state != State::sound || !found.time || *found.time > *until)) return found;
  NoWatch watch;
  const auto read =
      scan(line, stretch, point.start, watch, [&](wal::Lsn end) { return end >= *point.end; });
  if (read.damage) return {.state = State::damaged, .what = *read.damage};
  if (read.end < *point.end)
    return {.state = State::not_ended,
            .what = fmt::format("it ends at {}, but the archive ends at {}", *point.end, read.end)};
  return {.time = found.time};
}

/// The server writes a record at the end of a primary's backup; for a standby's there is none
/// (do_pg_backup_stop in access/transam/xlog.c).
WalOfBackup ArchiveWal::find_end(const FoundBackup& backup, const Line& line,
                                 const Stretch& stretch) {
  using State = WalOfBackup::State;
  const auto& point = *backup.point;
  constexpr auto kNotEnded = "it is not finished: the archive has no record of its end";
  if (point.from_standby) {
    if (!backup.vouched)
      return {.state = State::not_ended,
              .what =
                  "it is unknown where it becomes consistent: it has neither a backup_manifest nor "
                  "a global/pg_control with a minimum recovery ending location"};
    return {.time = point.began, .guessed = true};
  }
  EndWatch watch(point.start);
  const auto read =
      scan(line, stretch, point.start, watch, [&](wal::Lsn) { return watch.found.has_value(); });
  if (watch.found) {
    auto found = first_commit(line, stretch, *watch.found);
    found.end = watch.found;
    found.end_timeline = line.history.timeline_of(wal::Lsn(watch.found->byte() - 1));
    return found;
  }
  if (read.damage) return {.state = State::damaged, .what = *read.damage};
  return {.state = State::not_ended, .what = kNotEnded};
}

}  // namespace weir::prune
