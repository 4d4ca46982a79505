#include "cli/shared/recovery_archives.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <variant>

#include "archive/published_open.h"
#include "archive/segment_reader.h"
#include "archive/union_shelf.h"
#include "base/error.h"
#include "cli/print_stderr.h"
#include "cli/shared/ask_archive.h"
#include "prune/retention.h"
#include "restore/absence.h"
#include "restore/history.h"
#include "restore/partial.h"
#include "status/report.h"
#include "store/shelf/near_shelf.h"

namespace weir::cli {

void ArchivesOfRecovery::StderrLog::write(LogLevel, std::string_view message) {
  print_stderr("pgweir: {}\n", message);
}

ArchivesOfRecovery::ArchivesOfRecovery(const restore::Places& places, bool standby,
                                       std::optional<std::size_t> of_backup)
    : directories_(places.directories),
      standby_(standby),
      of_backup_(of_backup),
      options_{.if_empty_is_right = {}, .store = places.place_of_store()},
      open_(places, std::chrono::seconds(10), log_),
      archives_(open_.shelves(), options_, log_) {}

std::vector<recovery::Archives::Silence> ArchivesOfRecovery::silent() {
  std::vector<Silence> found;
  for (std::size_t each = 0; each < archives_.count(); ++each)
    if (const auto& error = archives_.silence(each)) found.push_back({each, *error});
  return found;
}

std::optional<wal::TimelineId> ArchivesOfRecovery::newest_timeline() {
  const auto timelines = followed();
  if (timelines.empty()) return std::nullopt;
  return *timelines.rbegin();
}

std::optional<recovery::Archives::WithoutWal> ArchivesOfRecovery::newest_without_wal() {
  const auto lost = newest_lost();
  const auto timelines = archives_.timelines();
  const auto known = timelines.known();
  const auto newest = newest_timeline();
  if (!newest) return std::nullopt;
  auto without_wal = std::max(lost.value_or(0), known.empty() ? wal::TimelineId{0} : known.back());
  std::string record;
  if (!standby_)
    for (const auto& each : archives_.missing_by_records())
      if (each.timeline > *newest && each.timeline >= without_wal && lost != each.timeline) {
        without_wal = each.timeline;
        record = each.record;
      }
  if (without_wal <= *newest) return std::nullopt;
  const bool is_known = std::binary_search(known.begin(), known.end(), without_wal);
  return WithoutWal{.timeline = without_wal,
                    .history = is_known ? timelines.history(without_wal) : std::nullopt,
                    .lost = lost == without_wal || !record.empty(),
                    .record = std::move(record)};
}

/// The newest timeline of which the store has lost WAL or the history, by its manifest, if it is
/// newer than all that have WAL. (A standby can stream it.)
std::optional<wal::TimelineId> ArchivesOfRecovery::newest_lost() {
  auto* const stored = open_.stored();
  if (standby_ || stored == nullptr || archives_.silent(*options_.store)) return std::nullopt;
  const auto find = [&] {
    const auto newest = newest_timeline();
    const auto known = archives_.timelines().known();
    std::optional<wal::TimelineId> lost;
    for (const auto& entry : stored->told().segments)
      lost = std::max(lost, std::optional(entry.name.segment.timeline()));
    for (const auto& entry : stored->told().histories)
      if (!std::binary_search(known.begin(), known.end(), entry.timeline))
        lost = std::max(lost, std::optional(entry.timeline));
    return newest < lost ? lost : std::nullopt;
  };
  if (!find()) return std::nullopt;
  stored->look_again();  // it may have been stored since the last look-up
  archives_.forget();
  return find();
}

std::set<wal::TimelineId> ArchivesOfRecovery::followed() {
  std::set<wal::TimelineId> timelines;
  for (const auto& entry : archives_.listing().segments)
    timelines.insert(entry.name.segment.timeline());
  // (Older ones without WAL lead nowhere.)
  if (standby_ && !timelines.empty())
    for (const auto timeline : archives_.timelines().known())
      if (timeline > *timelines.rbegin()) timelines.insert(timeline);
  return timelines;
}

recovery::Way ArchivesOfRecovery::way(const archive::BackupPoint& backup,
                                      std::optional<wal::TimelineId> timeline) {
  archives_.require_wal();
  const auto identity = archives_.identity();
  if (!identity)
    throw Error(ErrorKind::gap, "there is no WAL in the archive directory")
        .with("directory", archives_.paths())
        .hint("Check that the file system is mounted, and that it is the right directory.");
  if (backup.system_identifier != 0 && backup.system_identifier != identity->system_identifier)
    throw Error(ErrorKind::conflict, "the backup and the archive belong to different clusters")
        .with("backup", backup.system_identifier)
        .with("archive", identity->system_identifier);
  size_ = identity->segment_size;
  history_ = newest_history(backup, timeline);
  reader_ = std::make_unique<restore::UnionReader>(
      archives_, restore::UnionReader::Options{.segment_size = size_,
                                               .timeline = history_->timeline(),
                                               .history = history_,
                                               .unfinished = true,
                                               .durable_end = durable_end_of,
                                               .unsound = &unsound_});
  return {.source = *reader_,
          .history = *history_,
          .segment_size = size_,
          .system_identifier = identity->system_identifier,
          .goes_on = [this](wal::Lsn at) { return goes_on(at); },
          .unread =
              [this](wal::Lsn from, wal::Lsn to) {
                const auto first = unread_after(from).first;
                return first && first->segment.start(size_) < to ? first->what : std::string();
              },
          .unfinished =
              [this] {
                const auto copy = reader_->copy();
                return copy && copy->name.partial;
              },
          .is_finished = [this](wal::Lsn at) { return is_finished(at); },
          .complete_after = [this](wal::Lsn at) { return complete_after(at); },
          .has_wal_after_damage = [this](wal::Lsn at) { return has_wal_after_damage(at); },
          .is_left_before = [this](wal::Lsn at) { return is_left_before(at); },
          .is_padding = [this](wal::Lsn at) { return is_padding(at); },
          .has_another_copy = [this] { return has_another_copy(); },
          .read_front = [this](wal::Lsn at, auto into) { return read_front(at, into); },
          .is_being_written = [this](wal::Lsn at) { return is_being_written(at); },
          .missing_history = missing_history(backup),
          .reached = timeline && !standby_ ? last_left() : std::nullopt,
          .no_promotion = no_promotion()};
}

std::optional<wal::Lsn> ArchivesOfRecovery::promised_by_status(const archive::BackupPoint& backup,
                                                               wal::TimelineId timeline) {
  std::optional<wal::Lsn> promised;
  const auto take = [&](const status::StatusReport& report) {
    for (const auto& window : report.windows)
      if (window.timeline == timeline && window.from <= backup.start && backup.start < window.to)
        promised = std::max(promised.value_or(window.to), window.to);
  };
  if (!open_.stored()) {
    for (const auto& directory : directories_) take(status::make_report(directory));
    return promised;
  }
  // A part of it may be in the store alone: what all have together counts.
  std::vector<std::unique_ptr<archive::UnionShelf>> unions;
  io::Shelf* all = open_.shelves().front();
  for (auto* const each : open_.shelves().subspan(1))
    all = unions.emplace_back(std::make_unique<archive::UnionShelf>(*all, *each)).get();
  take(status::make_report(*all, 0));
  return promised;
}

namespace {

/// Without it, it is unknown whether a backup leads to that timeline. (Only the oldest one may have
/// none: the archive began on it.)
void require_history(const archive::Timelines& timelines, wal::TimelineId timeline,
                     wal::TimelineId oldest, bool standby) {
  const auto history = timelines.history(timeline);
  // (An empty file names no ancestors.)
  if (history && !history->ancestors().empty()) return;
  const auto& complaints = timelines.complaints();
  const auto complaint = std::find_if(complaints.begin(), complaints.end(),
                                      [&](const auto& each) { return each.timeline == timeline; });
  if (complaint == complaints.end() && timeline == oldest) return;
  throw Error(ErrorKind::io,
              complaint == complaints.end()
                  ? "the archive has WAL of a timeline, but not its history"
                  : "the history file of a timeline cannot be read: " + complaint->what)
      .with("file", wal::history_name(timeline))
      .hint(std::string(
                "It tells where the timeline begins. Make the file readable, or copy it into the "
                "archive from another copy, or from pg_wal of a server of this timeline.") +
            (standby ? ""
                     : " Only if the timeline is not wanted, recover along another one with "
                       "--timeline and --action pause."));
}

}  // namespace

wal::TimelineHistory ArchivesOfRecovery::newest_history(const archive::BackupPoint& backup,
                                                        std::optional<wal::TimelineId> wanted) {
  const auto timelines = archives_.timelines();
  const auto all = followed();
  std::optional<wal::TimelineHistory> newest;
  for (const auto timeline : all) {
    if (wanted && timeline != *wanted) continue;
    const auto history = timelines.history(timeline);
    if (history && prune::lies_on(backup, *history)) newest = history;
  }
  for (const auto timeline : all)
    if (wanted ? timeline == *wanted : !newest || timeline > newest->timeline())
      require_history(timelines, timeline, *all.begin(), standby_);
  if (!newest)
    throw Error(ErrorKind::gap, wanted ? "the archive has no WAL of that timeline after the backup"
                                       : "the archive has no WAL of the backup's timeline")
        .with("timeline", wanted.value_or(backup.timeline))
        .with("directory", archives_.paths());
  return *newest;
}

void ArchivesOfRecovery::check_history(wal::TimelineId timeline) {
  static_cast<void>(restore::read_agreed_history(archives_, timeline, true, false, log_));
}

/// A server rejects a recovery_target_timeline other than 1 without a history file
/// (validateRecoveryParameters() in access/transam/xlogrecovery.c), and requests those of all
/// timelines from that of its checkpoint on (restoreTimeLineHistoryFiles() in timeline.c):
/// `restore` stops it if one of them existed. A standby's settings and restore_command allow both.
/// A standby ends its search for the newest timeline at the first number without a history file,
/// whether that timeline existed or not (findNewestTimeLine()), and then replays WAL that the newer
/// timelines have left.
std::optional<wal::TimelineId> ArchivesOfRecovery::missing_history(
    const archive::BackupPoint& backup) {
  const auto timelines = archives_.timelines();
  const auto known = timelines.known();
  if (standby_) {
    for (auto timeline = backup.timeline + 1; timeline <= history_->timeline(); ++timeline) {
      if (!std::binary_search(known.begin(), known.end(), timeline)) return timeline;
      check_history(timeline);
    }
    return std::nullopt;
  }
  auto existed = followed();
  existed.insert(known.begin(), known.end());
  for (const auto& [timeline, why] : archive::missing_histories(archives_.listing(), timelines))
    existed.insert(timeline);
  for (const auto& each : archives_.missing_by_records())
    if (!each.segment) existed.insert(each.timeline);
  for (const auto timeline : existed) {
    if (timeline <= 1 || timeline < backup.timeline || timeline > history_->timeline()) continue;
    if (!std::binary_search(known.begin(), known.end(), timeline) || !timelines.history(timeline))
      return timeline;
    check_history(timeline);
  }
  return std::nullopt;
}

/// At the end of a recovery, a server looks for the first timeline ID after its own that has no
/// history file, for its next timeline (findNewestTimeLine() in access/transam/timeline.c):
/// `restore` stops it at one that existed. Returns what it says, or an empty string.
std::string ArchivesOfRecovery::no_promotion() {
  if (standby_) return {};
  for (bool again = false;; again = true) {
    const auto timelines = archives_.timelines();
    const auto known = timelines.known();
    auto next = history_->timeline() + 1;
    for (; std::binary_search(known.begin(), known.end(), next); ++next) {
      if (!timelines.history(next))
        return fmt::format("{} cannot be read", wal::history_name(next));
      try {
        check_history(next);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::conflict) throw;
        return error.what();
      }
    }
    const auto missing = [&](const restore::Gap& gap) {
      return fmt::format("{} is missing in the archive: {}", wal::history_name(next), gap.what);
    };
    const auto holes = archives_.known_holes(size_);
    auto absence = restore::judge_absent_history(next, archives_.listing(), timelines, holes);
    // Names that are not of files are in the listing of one archive only.
    if (archives_.several())
      archives_.ask_each([&](std::size_t i) {
        auto own = restore::judge_absent_history(next, archives_.at(i).listing(), timelines, holes);
        if (std::holds_alternative<restore::Gap>(own)) absence = std::move(own);
      });
    if (const auto* const gap = std::get_if<restore::Gap>(&absence)) return missing(*gap);
    if (const auto gap = archives_.recorded(next))
      return fmt::format(
          "{}. Only if no copy of it exists, and timeline {} is not wanted, remove {}",
          missing(*gap), next, gap->record);
    auto* const stored = open_.stored();
    if (stored == nullptr || archives_.silent(*options_.store)) return {};
    const auto gap = restore::told_of(next, stored->told(), timelines);
    if (!gap) return {};
    if (again) return missing(*gap);
    stored->look_again();  // it may have been stored since the last look-up
    archives_.forget();
  }
}

/// Start of the first segment of the history with WAL at or after a position; of complete ones
/// alone.
std::optional<wal::Lsn> ArchivesOfRecovery::next_segment(wal::Lsn at, bool complete) {
  archives_.forget();
  std::optional<wal::Lsn> next;
  std::vector<archive::SegmentFileName> partial;
  for (const auto& entry : archives_.listing().segments) {
    const auto& segment = entry.name.segment;
    if (!segment.fits(size_) || segment.start(size_) < at ||
        archive::timeline_of_segment(*history_, segment.segno(size_), size_) != segment.timeline())
      continue;
    if (entry.name.partial)
      partial.push_back(entry.name);
    else
      next = std::min(next.value_or(segment.start(size_)), segment.start(size_));
  }
  if (complete) return next;
  for (const auto& name : partial)
    if (const auto begin = name.segment.start(size_); (!next || begin < *next) && has_wal(name))
      next = begin;
  return next;
}

/// False for a partial segment of which nothing was written yet: a crash or a power loss leaves one
/// (or several). By the rules of "restore --partial".
bool ArchivesOfRecovery::has_wal(const archive::SegmentFileName& partial) {
  bool there = false;
  bool written = false;
  archives_.ask_each([&](std::size_t each) {
    auto& shelf = archives_.shelf(each);
    if (written || !shelf.find(partial.to_string())) return;
    try {
      const auto page = archive::read_first_page_header(shelf, partial);
      written = page && page->address == partial.segment.start(size_);
      there = true;
    } catch (const Error& error) {
      if (archive::is_gone(error)) return;
      if (error.kind() != ErrorKind::damage) throw;
      written = true;
    }
  });
  return written || !there;  // by now it is complete
}

std::optional<wal::Lsn> ArchivesOfRecovery::complete_after(wal::Lsn at) {
  const auto next = next_segment(at, true);
  const wal::Lsn before(at.byte() - 1);
  return next ? next
              : std::max({left_after(before), unread_after(before).second, recorded_after(before)});
}

std::optional<wal::Lsn> ArchivesOfRecovery::goes_on(wal::Lsn at) {
  auto next = next_segment(at, false);
  const auto take = [&](wal::Lsn begin) {
    if (begin >= at) next = std::min(next.value_or(begin), begin);
  };
  for (const auto& hole : archives_.known_holes(size_)) {
    if (!history_->contains(hole.next_timeline)) continue;
    // A hole after the position at which the history leaves that timeline is of another branch.
    const auto left = history_->end_of(hole.next_timeline);
    if (!left || hole.end <= *left) take(hole.end);
  }
  return next ? next
              : std::max(
                    {told_after(at), left_after(at), unread_after(at).second, recorded_after(at)});
}

/// By the histories of later timelines, the followed one had all segments before the one in which
/// they leave it: `restore` does not report one of them as absent. Where that one starts, if it is
/// after the segment with this position.
std::optional<wal::Lsn> ArchivesOfRecovery::left_after(wal::Lsn at) {
  const auto left = last_left();
  if (!left || size_.segno(*left) <= size_.segno(at)) return std::nullopt;
  return size_.start_of(*left);
}

/// The last position at which another timeline of the archive leaves the followed one.
std::optional<wal::Lsn> ArchivesOfRecovery::last_left() {
  const auto timelines = archives_.timelines();
  std::optional<wal::Lsn> last;
  for (const auto descendant : timelines.descendants(history_->timeline()))
    last = std::max(last, timelines.history(descendant)->end_of(history_->timeline()));
  return last;
}

/// By the store's manifest, WAL at or after a position that the store has lost: `restore` does not
/// report it as absent either. Where it ends: there is none after it.
std::optional<wal::Lsn> ArchivesOfRecovery::told_after(wal::Lsn at) {
  auto* const stored = open_.stored();
  if (stored == nullptr || archives_.silent(*options_.store)) return std::nullopt;
  std::optional<wal::Lsn> end;
  bool looked_again = false;
  for (const auto& entry : stored->told().segments) {
    const auto& segment = entry.name.segment;
    if (!segment.fits(size_) || segment.start(size_) + size_.bytes() < at ||
        archive::timeline_of_segment(*history_, segment.segno(size_), size_) != segment.timeline())
      continue;
    if (archives_.finished_form_exists(segment)) continue;
    if (!std::exchange(looked_again, true)) {
      stored->look_again();  // it may have been stored since the last look-up
      archives_.forget();
      if (archives_.finished_form_exists(segment)) continue;
    }
    const auto behind = segment.start(size_) + size_.bytes();
    end = std::max(end.value_or(behind), behind);
  }
  return end;
}

/// Likewise, by a record in the archive.
std::optional<wal::Lsn> ArchivesOfRecovery::recorded_after(wal::Lsn at) {
  std::optional<wal::Lsn> end;
  for (const auto& each : archives_.missing_by_records()) {
    if (!each.segment ||
        archive::timeline_of_segment(*history_, each.segment->segno(size_), size_) != each.timeline)
      continue;
    const auto behind = each.segment->start(size_) + size_.bytes();
    if (behind > at) end = std::max(end, std::optional(behind));
  }
  return end;
}

/// By their names, there are segments at or after a position that are not read: `restore` reports
/// none of them as absent either, and none before them.
std::pair<std::optional<restore::Unread>, std::optional<wal::Lsn>> ArchivesOfRecovery::unread_after(
    wal::Lsn at) {
  std::optional<restore::Unread> first;
  std::optional<wal::Lsn> end;
  const auto take = [&](restore::Unread unread) {
    if (!unread.segment.fits(size_)) return;
    const auto& segment = unread.segment;
    const auto behind = segment.start(size_) + size_.bytes();
    if (behind <= at || (unread.partial && segment.start(size_) > at) ||
        archive::timeline_of_segment(*history_, segment.segno(size_), size_) != segment.timeline())
      return;
    end = std::max(end, std::optional(behind));
    if (!first || segment.start(size_) < first->segment.start(size_)) first = std::move(unread);
  };
  const auto all = archives_.listing();
  archives_.ask_each([&](std::size_t each) {
    const auto& listing = archives_.at(each).listing();
    for (const auto& name : listing.foreign)
      if (auto unread = restore::unread_segment(name)) take(std::move(*unread));
    if (standby_) return;
    for (const auto& name : listing.hidden)
      if (auto copied = restore::copied_segment(name, all)) take(std::move(*copied));
  });
  return {std::move(first), end};
}

bool ArchivesOfRecovery::is_finished(wal::Lsn at) {
  const auto segment = reader_->segment_at(at);
  bool finished = false;
  archives_.forget();
  archives_.ask_each([&](std::size_t each) {
    finished = finished || archives_.at(each).finished_form_exists(segment);
  });
  return finished;
}

/// By the rules of "restore --partial".
bool ArchivesOfRecovery::has_wal_after_damage(wal::Lsn at) {
  const auto partial =
      restore::find_partial(archives_, reader_->segment_at(at), size_, durable_end_of);
  return partial && partial->damage;
}

bool ArchivesOfRecovery::is_left_before(wal::Lsn at) {
  const auto timelines = archives_.timelines();
  const auto descendants = timelines.descendants(history_->timeline());
  return std::any_of(descendants.begin(), descendants.end(), [&](wal::TimelineId descendant) {
    const auto end = timelines.history(descendant)->end_of(history_->timeline());
    return end && *end <= at && size_.segno(*end) == size_.segno(at);
  });
}

/// pg_basebackup (-X stream, plain format) creates each segment with its full size, filled with
/// zeros, under its final name (dir_open_for_write() in bin/pg_basebackup/walmethods.c).
bool ArchivesOfRecovery::is_padding(wal::Lsn at) {
  const auto copy = reader_->copy();
  if (!of_backup_ || !copy || copy->archive != *of_backup_) return false;
  try {
    if (!archive::has_zeros_behind(archives_.shelf(*of_backup_), copy->name, size_, at))
      return false;
    // "restore --up-to-damage" would not deliver a partial segment that has more.
    const auto partial =
        restore::find_partial(archives_, copy->name.segment, size_, durable_end_of);
    return !partial || partial->cut <= at;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && !archive::is_gone(error)) throw;
    return false;
  }
}

bool ArchivesOfRecovery::is_being_written(wal::Lsn at) {
  const auto segment = reader_->segment_at(at);
  const auto change = archives_.find_recent_change(segment);
  if (!change.ends_early && (!change.changed || !changed_.insert(segment).second)) return false;
  if (change.ends_early) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  reader_->forget();
  return true;
}

/// By the rules of "restore --up-to-damage". All WAL of a file that is too long may be valid:
/// without its last byte, the damage is not passed.
std::size_t ArchivesOfRecovery::read_front(wal::Lsn at, std::span<std::byte> into) {
  const auto segment = reader_->segment_at(at);
  std::size_t count = 0;
  try {
    if (front_of_ != segment) front_ = restore::find_front(archives_, segment, size_);
    front_of_ = segment;
    if (!front_ || !front_->checked) return 0;
    const auto cut = std::min(front_->cut, segment.start(size_) + (size_.bytes() - 1));
    if (cut <= at) return 0;
    into = into.first(std::min<std::uint64_t>(into.size(), cut - at));
    auto skipped = size_.offset(at);
    archive::read_segment_front(
        archives_.shelf(front_->copy.archive), front_->copy.name, size_,
        [&](std::span<const std::byte> wal) {
          const auto skip = std::min<std::uint64_t>(skipped, wal.size());
          skipped -= skip;
          wal = wal.subspan(skip).first(std::min(wal.size() - skip, into.size() - count));
          std::copy(wal.begin(), wal.end(), into.subspan(count).begin());
          count += wal.size();
          return count < into.size();
        });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && !archive::is_gone(error)) throw;
  }
  return count;
}

/// Also another file in the same archive: restore delivers the valid one.
bool ArchivesOfRecovery::has_another_copy() {
  const auto copy = reader_->copy();
  if (!copy || (copy->name.partial && !archives_.several())) return false;
  const auto added = unsound_.emplace(copy->archive, copy->name.to_string());
  if (!added.second) return false;
  if (restore::other_copy_exists(archives_, copy->name.segment, unsound_)) return true;
  unsound_.erase(added.first);
  return false;
}

}  // namespace weir::cli
