#include "recovery/promise.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "archive/look_again.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/text.h"
#include "wal/page.h"
#include "wal/record_verifier.h"
#include "wal/records.h"
#include "wal/server_version.h"

namespace weir::recovery {

namespace {

constexpr std::size_t kRead = std::size_t{1} << 20;  ///< bytes at once

/// CheckPoint.time in catalog/pg_control.h, in seconds since 1970. nullopt of versions that are not
/// known.
std::optional<wal::PgTime> checkpoint_time(std::span<const std::byte> body, int major) {
  constexpr std::size_t kUntil18 = 64, kSince19 = 72;
  if (major < wal::kOldestKnownMajor || major > wal::kNewestKnownMajor) return std::nullopt;
  const auto time = wal::ServerVersion(major).has_wide_checkpoint() ? kSince19 : kUntil18;
  const auto data = wal::main_data(body);
  std::int64_t seconds = 0;
  if (!data || data->size() < time + sizeof seconds) return std::nullopt;
  std::memcpy(&seconds, &(*data)[time], sizeof seconds);
  return wal::PgTime::of(std::chrono::system_clock::time_point(std::chrono::seconds(seconds)));
}

void tell_minimal_wal(Promise& promise, wal::Lsn at) {
  promise.obstacle = Obstacle::minimal;
  promise.problem = fmt::format(
      "the server wrote WAL with wal_level=minimal from {} on: no recovery can pass it", at);
  promise.hint = fmt::format(
      "Recover to a target before {}, or use a base backup that started after wal_level was raised "
      "again.",
      at);
}

/// Follows the records as a recovery does, until it stops: recoveryStopsBefore() and
/// recoveryStopsAfter() in access/transam/xlogrecovery.c.
class Follower final : public wal::RecordObserver {
 public:
  Follower(const archive::BackupPoint& backup, const Target& target, wal::SegmentSize size,
           Promise& promise)
      : begin_(backup.start),
        backup_end_(backup.end),
        checkpoint_at_(backup.checkpoint),
        target_(target),
        size_(size),
        promise_(promise),
        transactions_([this](const wal::TransactionEnd& end) {
          ended_ = end;
          return true;
        }) {}

  bool wants(const wal::RecordHeader& header) override {
    return wal::makes_tablespace(header) || wal::is_checkpoint(header) ||
           wal::is_xlog(header, wal::XlogRecord::parameter_change) ||
           wal::is_xlog(header, wal::XlogRecord::backup_end) ||
           wal::is_xlog(header, wal::XlogRecord::restore_point) || transactions_.wants(header);
  }

  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (start < begin_) return;
    if (checkpoint_at_ && start >= *checkpoint_at_ && !std::exchange(is_past_checkpoint_, true))
      is_stranger_ = start != *checkpoint_at_ || !wal::is_checkpoint(header) ||
                     wal::redo_position(body) != begin_;
    ended_.reset();
    if (transactions_.wants(header)) transactions_.on_record(start, end, header, body);
    // The replay starts after a checkpoint that is its own start, such as one of a shutdown, and
    // does not end there (PerformWalRecovery() in access/transam/xlogrecovery.c).
    const bool is_replayed = start != begin_ || !wal::is_checkpoint(header);
    if (!done_ && is_replayed && stops_before(start)) {
      last_byte_ = wal::Lsn(end.byte() - 1);
      done_ = true;
    }
    if (done_) {
      if (ended_ && !ended_->aborted && !promise_.next_commit)
        promise_.next_commit = ended_->commit;
      return;
    }
    last_byte_ = wal::Lsn(end.byte() - 1);
    // CheckRequiredParameterValues() in access/transam/xlogrecovery.c; version 13 warns, and
    // continues without the data.
    if (wal::is_xlog(header, wal::XlogRecord::parameter_change)) {
      if (wal::sets_wal_level_minimal(body).value_or(false)) {
        tell_minimal_wal(promise_, start);
        done_ = true;
        return;
      }
      const auto limits = wal::server_limits(body).value_or(wal::ServerLimits{});
      for (std::size_t i = 0; i < limits.size(); ++i)
        promise_.limits[i] = std::max(promise_.limits[i], limits[i]);
    }
    if (wal::makes_tablespace(header)) {
      const auto location = wal::tablespace_location(body);
      // One in the data directory itself has no location (allow_in_place_tablespaces).
      if (!location || !location->empty())
        promise_.tablespaces.push_back({start, location.value_or("an unknown location")});
    }
    if (wal::is_xlog(header, wal::XlogRecord::backup_end) &&
        wal::start_of_ended_backup(body) == begin_)
      backup_ended_ = true;
    if (ended_) any_transaction_ = true;
    if (!checkpoint_ && wal::is_checkpoint(header) && wal::redo_position(body) == begin_)
      checkpoint_ = checkpoint_time(body, promise_.server_major);
    // A server treats the rest of the segment as part of the switch.
    if (wal::is_xlog(header, wal::XlogRecord::segment_switch) && size_.offset(end) != 0)
      end = size_.start_of(end) + size_.bytes();
    promise_.position = end;
    if (is_replayed) promise_.last_record = start;
    if (ended_ && !ended_->aborted) promise_.commit = ended_->commit;
    done_ = is_replayed && stops_after(start, end, header, body);
  }

  [[nodiscard]] bool done() const { return done_; }
  /// End of the last record that the server reads, even if it stops before that record.
  [[nodiscard]] wal::Lsn last_byte() const { return last_byte_; }
  /// The record was replayed that a primary writes at a backup's end.
  [[nodiscard]] bool backup_ended() const { return backup_ended_; }
  /// The end of a transaction was replayed: everything in the backup precedes it.
  [[nodiscard]] bool any_transaction() const { return any_transaction_; }
  /// There is another record where the backup's checkpoint should be.
  [[nodiscard]] bool is_stranger() const { return is_stranger_; }
  /// Start time of the backup's checkpoint; nullopt: it was not found, or has no time.
  [[nodiscard]] std::optional<wal::PgTime> checkpoint() const { return checkpoint_; }

 private:
  [[nodiscard]] bool stops_before(wal::Lsn start) const {
    if (target_.kind == Target::Kind::lsn) return target_.exclusive && start >= target_.lsn;
    if (!ended_) return false;
    if (target_.kind == Target::Kind::xid)
      return target_.exclusive && ended_->commit.transaction == target_.xid;
    if (target_.kind != Target::Kind::time) return false;
    return ended_->commit.time > target_.time ||
           (target_.exclusive && ended_->commit.time == target_.time);
  }
  [[nodiscard]] bool stops_after(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                                 std::span<const std::byte> body) const {
    switch (target_.kind) {
      case Target::Kind::lsn:
        return !target_.exclusive && start >= target_.lsn;
      case Target::Kind::xid:
        return !target_.exclusive && ended_ && ended_->commit.transaction == target_.xid;
      case Target::Kind::name:
        return wal::is_xlog(header, wal::XlogRecord::restore_point) &&
               wal::restore_point_name(body) == target_.name;
      case Target::Kind::immediate:
        // CheckRecoveryConsistency() in access/transam/xlogrecovery.c. A standby's backup may be
        // consistent earlier: see target_setting().
        return backup_end_ ? end >= *backup_end_ : backup_ended_;
      case Target::Kind::latest:
      case Target::Kind::time:
        break;
    }
    return false;
  }

  const wal::Lsn begin_;
  const std::optional<wal::Lsn> backup_end_;
  const std::optional<wal::Lsn> checkpoint_at_;  ///< its record, as the backup says
  const Target& target_;
  const wal::SegmentSize size_;
  Promise& promise_;
  wal::TransactionObserver transactions_;
  std::optional<wal::TransactionEnd> ended_;  ///< by the current record
  bool done_ = false;
  wal::Lsn last_byte_;
  bool backup_ended_ = false;
  bool any_transaction_ = false;
  bool is_past_checkpoint_ = false;
  bool is_stranger_ = false;
  std::optional<wal::PgTime> checkpoint_;
};

/// The file that has, or should have, this byte.
std::string segment_at(const Way& way, wal::Lsn at) {
  const auto segno = way.segment_size.segno(at);
  return wal::SegmentName(archive::timeline_of_segment(way.history, segno, way.segment_size), segno,
                          way.segment_size)
      .to_string();
}

/// A target time cannot be used: that would require a later transaction, and the WAL ends.
std::string way_out(const Promise& promise) {
  if (!promise.last_record.valid()) return {};
  return fmt::format(
      " Without a copy, \"--to {}\" recovers everything before it{}.", promise.last_record,
      promise.commit ? fmt::format(": the last commit is of {} (xid {}, LSN {})",
                                   promise.commit->time.to_string(), promise.commit->transaction,
                                   promise.commit->start)
                     : ": no commit");
}

void tell_damage(Promise& promise, const Way& way, wal::Lsn at, std::string_view what,
                 bool is_unwritten = false) {
  promise.obstacle = Obstacle::damage;
  const auto segment = segment_at(way, at);
  promise.problem = fmt::format("the WAL at {}, in {}, is damaged: {}", at, segment, what);
  promise.hint = fmt::format(
      "\"pgweir verify\" reports all damage. \"pgweir import --replace-damaged\" imports a valid "
      "copy of {}.",
      segment);
  if (is_unwritten)
    promise.hint +=
        fmt::format(" If the file was copied from the pg_wal of a server, {}.",
                    way.segment_size.offset(at) == 0
                        ? "which prepares files for later use, move it out of the archive, and "
                          "each later one of "
                          "this kind"
                        : fmt::format("and no WAL follows, rename it to {}.partial", segment));
  promise.hint += way_out(promise);
}

void tell_hole(Promise& promise, const Way& way, wal::Lsn from, wal::Lsn to) {
  const auto first = segment_at(way, from);
  const auto last = segment_at(way, wal::Lsn(to.byte() - 1));
  promise.obstacle = Obstacle::hole;
  promise.problem = fmt::format("WAL is missing in the archive, from {} to {}: {}", from, to,
                                first == last ? first : first + " to " + last);
  if (const auto unread = way.unread ? way.unread(from, to) : std::string(); !unread.empty())
    promise.problem += "; " + unread;
  promise.hint =
      way.source.was_uploaded(from)
          ? "This WAL was uploaded to the object store: add --store and its options to the command."
          : "No recovery can pass a hole: \"pgweir import\" fills it from another copy, and a base "
            "backup that started after it can be recovered.";
  promise.hint += way_out(promise);
}

/// A backup_label names no cluster, nor does a manifest before PostgreSQL 17, and pg_control in a
/// compressed tar file is read only when it is unpacked.
Error stranger_error(const archive::BackupPoint& backup) {
  return Error(ErrorKind::conflict, "the archive has different WAL at the backup's checkpoint")
      .with("backup", backup.file)
      .with("its checkpoint", *backup.checkpoint)
      .with("with the start", backup.start)
      .hint(
          "The backup belongs to another cluster, or to a server that diverged from this archive. "
          "Specify the archive of the backup's own server.");
}

void require_target(Promise& promise, const Target& target, const archive::BackupPoint& backup) {
  if (!promise.problem.empty()) return;
  const auto kind = target.kind;
  promise.obstacle = Obstacle::ends;
  if (kind == Target::Kind::xid || kind == Target::Kind::name) {
    promise.obstacle = Obstacle::not_found;
    promise.problem =
        fmt::format("the target {} is not in the WAL from the start of the backup at {} to {}",
                    target.to_string(), backup.start, promise.position);
    promise.hint =
        "\"pgweir restore --find-time TIME\" shows the commits around a time. For a target before "
        "the backup, use an older backup.";
  } else if (kind == Target::Kind::immediate && backup.end && promise.position >= *backup.end) {
    promise.problem = fmt::format(
        "the backup ends with its checkpoint, at {}, and no record follows in the archive: a "
        "recovery has nothing to stop at",
        *backup.end);
    promise.hint = "\"--to latest\" recovers this backup.";
  } else if (kind == Target::Kind::immediate) {
    promise.problem =
        fmt::format("the archive ends at {}, before the backup does{}", promise.position,
                    backup.end ? fmt::format(" ({})", *backup.end) : std::string());
    promise.hint = "No recovery with this backup can open the database before its end.";
  } else if (kind != Target::Kind::latest) {
    promise.problem = fmt::format(
        "the archive ends before the target {}: at {}{}", target.to_string(), promise.position,
        promise.commit ? ", with the commit of " + promise.commit->time.to_string()
                       : std::string());
    promise.hint =
        "A recovery to a time needs a later commit; a recovery to an LSN needs a record that "
        "starts there or later. \"--to latest\" recovers all available WAL.";
  } else if (backup.end && promise.position < *backup.end) {
    promise.problem = fmt::format("the archive ends at {}, before the backup does ({})",
                                  promise.position, *backup.end);
    promise.hint = "No recovery with this backup can open the database before its end.";
  } else {
    promise.obstacle = Obstacle::none;
  }
}

}  // namespace

Target Target::parse(const std::string& text) {
  if (text == "latest") return {};
  if (const auto lsn = wal::Lsn::parse(text)) return {.kind = Kind::lsn, .lsn = *lsn};
  if (const auto time = wal::PgTime::parse(text)) return {.kind = Kind::time, .time = *time};
  throw Error(ErrorKind::usage, "")
      .hint(
          "The target is latest, an LSN such as 0/3000148, or a time such as '2026-11-20 "
          "03:14:15+00'.");
}

Target Target::parse_any(const std::string& text) {
  constexpr std::string_view kXid = "xid:", kName = "name:";
  constexpr std::size_t kLongestName = 63;  // MAXFNAMELEN in access/xlog_internal.h, with its end
  if (text == "immediate") return {.kind = Kind::immediate};
  if (text.starts_with(kXid)) {
    // The server takes the lower half of a transaction ID with epoch (check_recovery_target_xid).
    const auto number = parse_number<std::uint64_t>(std::string_view(text).substr(kXid.size()));
    constexpr std::uint32_t kFirstNormal = 3;
    if (number && static_cast<std::uint32_t>(*number) >= kFirstNormal)
      return {.kind = Kind::xid, .xid = static_cast<std::uint32_t>(*number)};
  } else if (text.starts_with(kName)) {
    const auto name = text.substr(kName.size());
    if (!name.empty() && name.size() <= kLongestName) return {.kind = Kind::name, .name = name};
  } else if (text == "latest" || wal::Lsn::parse(text) || wal::PgTime::parse(text)) {
    return parse(text);
  }
  throw Error(ErrorKind::usage, "")
      .hint(
          "The target is latest, immediate, an LSN such as 0/3000148, a time such as '2026-11-20 "
          "03:14:15+00', xid:N, or name:RESTOREPOINT.");
}

std::string Target::to_string() const {
  std::string text = "latest";
  if (kind == Kind::lsn) text = lsn.to_string();
  if (kind == Kind::time) text = time.to_string();
  if (kind == Kind::xid) text = fmt::format("xid:{}", xid);
  if (kind == Kind::name) text = "name:" + name;
  if (kind == Kind::immediate) text = "immediate";
  return exclusive ? "just before " + text : text;
}

namespace {

bool is_end(archive::WalSource::State state) {
  return state == archive::WalSource::State::gone || state == archive::WalSource::State::end;
}

/// The error is about the device, the network or the server, not about the WAL.
bool is_read_error(const Error& error) {
  return error.kind() == ErrorKind::io || error.kind() == ErrorKind::retry;
}

/// The newest commit before the backup's start, as far as the archive shows: backwards, segment by
/// segment, until one has a commit.
std::optional<wal::Commit> commit_before(const Way& way, const archive::BackupPoint& backup,
                                         const std::function<bool()>& stop) {
  constexpr std::uint64_t kFarthest = 256;  // an idle server's, of which each has a checkpoint
  const auto& size = way.segment_size;
  const auto last = size.segno(backup.start);
  std::vector<std::byte> buffer(kRead);
  for (std::uint64_t back = 0; back <= std::min(last, kFarthest); ++back) {
    std::optional<wal::Commit> newest;
    wal::TransactionObserver commits([&](const wal::TransactionEnd& end) {
      if (!end.aborted && end.commit.end <= backup.start) newest = end.commit;
      return true;
    });
    wal::RecordVerifier verifier({.segment_size = size,
                                  .timeline = way.history.timeline(),
                                  .system_identifier = way.system_identifier,
                                  .observer = &commits,
                                  .history = &way.history},
                                 size.start(last - back));
    // A record that starts in the segment may end in the next one.
    const auto end = std::min(backup.start, size.start(last - back + 1) + kRead);
    while (verifier.position() < end) {
      if (stop()) throw Error(ErrorKind::retry, "stopped while the archive was being read");
      const auto room = std::min<std::uint64_t>(buffer.size(), end - verifier.position());
      const auto read = way.source.read(verifier.position(), std::span(buffer).first(room));
      // Missing or damaged WAL there does not prevent recovery. It only means that there is no
      // information.
      if (read.state != archive::WalSource::State::bytes) return std::nullopt;
      if (verifier.feed(std::span(buffer).first(read.count))) return std::nullopt;
    }
    if (newest) return newest;
  }
  return std::nullopt;
}

/// PostgreSQL does not reject a time before the backup's end: it stops at the first later
/// transaction that it replays, and opens with all of them (recoveryStopsBefore() in
/// access/transam/xlogrecovery.c). The replayed WAL does not show that.
void require_not_passed(Promise& promise, const Way& way, const archive::BackupPoint& backup,
                        const Target& target, const std::optional<wal::PgTime>& checkpoint,
                        const std::function<bool()>& stop) {
  promise.hint =
      "A recovery with this backup would include later commits. Use a backup that ended before the "
      "target.";
  promise.obstacle = Obstacle::too_early;
  const auto held = commit_before(way, backup, stop);
  if (held && (held->time > target.time || (target.exclusive && held->time == target.time))) {
    promise.held = held;
    promise.problem = fmt::format(
        "the backup started after the target {}: it contains a commit of {} (xid {}, LSN {})",
        target.to_string(), held->time.to_string(), held->transaction, held->start);
    return;
  }
  // Without one the checkpoint counts, whose time has whole seconds.
  constexpr std::int64_t kSecond = 1'000'000;
  if (held || (checkpoint && checkpoint->microseconds + kSecond <= target.time.microseconds)) {
    promise.obstacle = Obstacle::none;
    return promise.hint.clear();
  }
  promise.problem = fmt::format(
      "it is unknown whether the backup started after the target {}: the archive has no commit "
      "before the backup{}",
      target.to_string(),
      checkpoint ? ", and its checkpoint is of " + checkpoint->to_string() : std::string());
}

/// Start of the next complete segment, if the one with this byte is partial, and so is not the last
/// one. A receiver may be completing both.
std::optional<wal::Lsn> find_complete_after(const Way& way, wal::Lsn at) {
  std::optional<wal::Lsn> complete;
  for (int looks = 0; looks < archive::kMostLooksAtArchive; ++looks) {
    complete = way.complete_after(way.segment_size.start_of(at) + way.segment_size.bytes());
    if (!complete || way.is_finished(at)) return std::nullopt;
  }
  return complete;
}

/// The segment with the byte `found_at`, if it is padded after this record, and the last one.
std::optional<archive::WalSource::Padded> padded_after(const Way& way, wal::Lsn record_end,
                                                       wal::Lsn found_at) {
  const auto& size = way.segment_size;
  if (way.unfinished() || way.goes_on(size.start_of(found_at) + size.bytes())) return std::nullopt;
  const auto padded = way.source.padded(found_at);
  return padded && padded->end == record_end ? padded : std::nullopt;
}

/// Reads the WAL once. nullopt: something was not valid, and another copy must be read.
std::optional<Promise> look_once(const Way& way, const archive::BackupPoint& backup,
                                 const Target& target, const std::function<bool()>& stop) {
  using State = archive::WalSource::State;
  const auto& size = way.segment_size;
  Promise promise;
  promise.position = backup.start;
  Follower follower(backup, target, size, promise);
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = way.history.timeline(),
                                .system_identifier = way.system_identifier,
                                .observer = &follower,
                                .history = &way.history},
                               size.start_of(backup.start));
  std::vector<std::byte> buffer(kRead);
  std::optional<std::uint64_t> partial;  ///< number of the partial segment read last
  // After the target its segment is read to the end, and a record that begins in it: the server
  // gets all of the segment, or nothing.
  const auto is_last = [&](wal::Lsn at) {
    return size.segno(at) == size.segno(follower.last_byte());
  };
  const auto wanted = [&] {
    return !follower.done() || is_last(verifier.position()) ||
           (verifier.inside_record() && is_last(verifier.newest_record_start()));
  };
  while (wanted()) {
    if (stop()) throw Error(ErrorKind::retry, "stopped while the archive was being read");
    const auto at = verifier.position();
    auto read = way.source.read(at, buffer);
    if (follower.done() && !is_last(at) && (read.state != State::bytes || way.unfinished())) break;
    // A receiver may have completed the segment meanwhile, and started the next one: that is not a
    // hole. Names and content are read again.
    std::optional<wal::Lsn> next;
    for (int looks = 0; is_end(read.state) && looks < archive::kMostLooksAtArchive; ++looks) {
      next = way.goes_on(at);
      if (!next) break;
      read = way.source.read(at, buffer);
    }
    if (is_end(read.state)) {
      if (next && !follower.done()) tell_hole(promise, way, at, *next);
      break;
    }
    if (read.state == State::damaged) {
      // No copy could be read. Nothing is known about its content.
      if (is_read_error(*read.error)) throw Error(*read.error);
      if (way.is_being_written && way.is_being_written(at)) continue;
      if (way.has_another_copy()) return std::nullopt;
      read.count = way.read_front ? way.read_front(at, buffer) : 0;
      if (read.count == 0 && follower.done())
        promise.damage_behind = {at, segment_at(way, at), read.error->what()};
      else if (read.count == 0)
        tell_damage(promise, way, at, read.error->what());
      if (read.count == 0) break;
    }
    if (way.unfinished() && std::exchange(partial, size.segno(at)) != size.segno(at))
      if (const auto complete = find_complete_after(way, at)) {
        tell_hole(promise, way, size.start_of(at), *complete);
        break;
      }
    const auto wal = std::span<const std::byte>(buffer).first(read.count);
    if (promise.server_major == 0)
      if (const auto page = wal::decode_page_header(wal))
        promise.server_major = wal::major_version_of_magic(page->magic).value_or(0);
    const auto damage = verifier.feed(wal);
    if (verifier.unchecked())
      throw Error(ErrorKind::refused, "the WAL is of a newer PostgreSQL than this pgweir knows")
          .with("LSN", at);
    if (follower.is_stranger()) throw stranger_error(backup);
    if (!damage) continue;
    if (follower.done() && !is_last(damage->at)) break;
    // After its end, a partial segment has zeros, or old content. If WAL continues after it, it is
    // not the last one; unless a receiver has completed it meanwhile: then it was.
    const auto behind = size.start_of(damage->found_at) + size.bytes();
    auto what = damage->what;
    if (way.unfinished() && (!way.goes_on(behind) || way.is_finished(damage->found_at))) {
      if (!way.has_wal_after_damage(damage->found_at)) break;
      what += "; but WAL was written there";
    }
    if (way.has_another_copy()) return std::nullopt;
    // The archive ends with a segment that was published before it was complete.
    if (const auto padded = padded_after(way, verifier.last_record_end(), damage->found_at)) {
      if (padded->continues) return std::nullopt;
      break;
    }
    // The archive's copy of a segment in which a standby was promoted may be torn, or closed early.
    // The last segment in a standby's backup is incomplete, since a standby cannot switch segments.
    const bool ends = !way.unfinished() && !way.goes_on(behind);
    const bool is_padding = ends && way.is_padding(damage->found_at);
    if (follower.done() || is_padding || (ends && way.is_left_before(damage->at)))
      promise.damage_behind = {damage->at,
                               segment_at(way, follower.done() ? damage->at : damage->found_at),
                               what, is_padding};
    else
      tell_damage(promise, way, damage->at, what, damage->is_unwritten);
    break;
  }
  promise.read_to = verifier.position();
  promise.bytes = promise.position - backup.start;
  // If nothing was committed after the backup, its WAL ends before each time that it had passed.
  // Without the backup's checkpoint it is known only that the archive ends.
  if (promise.problem.empty() && target.kind == Target::Kind::time && !follower.any_transaction() &&
      (follower.done() || follower.checkpoint()))
    require_not_passed(promise, way, backup, target, follower.checkpoint(), stop);
  if (promise.problem.empty() && !follower.done() && way.reached &&
      promise.position < *way.reached) {
    tell_hole(promise, way, std::max(promise.position, size.start_of(*way.reached)), *way.reached);
    promise.problem += fmt::format(
        "; timeline {} ends only there, as the history of a later one "
        "shows",
        way.history.timeline());
  }
  if (!follower.done()) require_target(promise, target, backup);
  // A backup without a manifest does not contain its end; a primary's WAL does.
  const bool inside = backup.end ? promise.position < *backup.end
                                 : !backup.from_standby && !follower.backup_ended();
  if (promise.problem.empty() && inside) {
    promise.obstacle = follower.done() ? Obstacle::too_early : Obstacle::ends;
    promise.problem =
        backup.end ? fmt::format("the target precedes the end of the backup ({})", *backup.end)
                   : fmt::format("recovery would end at {}, before the end of the backup",
                                 promise.position);
    promise.hint = "Choose a later target, or an older backup.";
  }
  return promise;
}

}  // namespace

Promise look_through(const Way& way, const archive::BackupPoint& backup, const Target& target,
                     const std::function<bool()>& stop) {
  if (way.missing_history) {
    Promise none;
    none.position = none.read_to = backup.start;
    none.obstacle = Obstacle::no_history;
    none.problem = fmt::format(
        "{} is not in the archive, or cannot be read: a server requests it, and stops, "
        "or stays on an earlier timeline (a standby)",
        wal::history_name(*way.missing_history));
    none.hint =
        "Copy it into the archive from another copy of the archive, or from pg_wal of a server of "
        "this timeline; a starting \"pgweir receive\" fetches it from its server.";
    return none;
  }
  for (;;)
    if (auto promise = look_once(way, backup, target, stop)) return *promise;
}

std::string of_a_left_branch(wal::TimelineId followed, wal::TimelineId newest) {
  return fmt::format(
      "the backup is not in the history of timeline {}, the newest one in the archive: the "
      "recovery follows timeline {}, which was left",
      newest, followed);
}

std::string of_no_promotion(const std::string& why) {
  return fmt::format(
      "the recovered server could not be promoted: it requests the histories of later timelines, "
      "and would stop, since {}",
      why);
}

std::string hint_of_lost_files(const Archives::WithoutWal& newer) {
  return newer.record.empty()
             ? "Find out which program removes objects there. Upload the files again from another "
               "copy of the archive, or specify that copy with -D."
             : "The archive directory was copied in part, or has lost files. Specify a complete "
               "copy with -D, or the object store with --store.";
}

std::string of_a_timeline_without_wal(const Archives::WithoutWal& newer, wal::TimelineId followed,
                                      const Target& target, const Promise& promise) {
  const auto left = newer.history ? newer.history->end_of(followed) : std::nullopt;
  // Up to there, both timelines have the same WAL.
  if (left && promise.position <= *left && promise.problem.empty() &&
      target.kind != Target::Kind::latest)
    return "";
  auto text = fmt::format(
      "the recovery follows timeline {}, although timeline {} is newer: {}. ", followed,
      newer.timeline,
      !newer.record.empty()
          ? fmt::format("according to {}, that timeline existed, but the archive lacks files of it",
                        newer.record)
      : newer.lost ? "the store has lost files of that timeline, which were uploaded according to "
                     "its manifest"
      : newer.backup.empty() || newer.history
          ? "the archive has the history file of that timeline, but none of its WAL"
          : fmt::format("the backup {} is of that timeline, and the archive has none of its WAL",
                        newer.backup));
  if (left)
    text += fmt::format("A server was promoted at {} of timeline {}", *left, followed);
  else if (newer.history)
    text += fmt::format("Timeline {} begins at {}, and timeline {} is not in its history",
                        newer.timeline, *newer.history->begin_of(newer.timeline), followed);
  else
    text += newer.backup.empty() && newer.record.empty()
                ? "The history file cannot be read, so that it is unknown where "
                  "the timeline begins"
                : "It is unknown where the timeline begins";
  text += "; changes that were made on the newer timeline are not recovered";
  if (left && promise.position > *left)
    text += fmt::format(", but WAL of timeline {} after that position is", followed);
  if (left && promise.position < *left)
    text += fmt::format(", nor is WAL of timeline {} after {}", followed, promise.position);
  return text +
         fmt::format(". If timeline {} is wanted, archive or import its WAL first", newer.timeline);
}

}  // namespace weir::recovery
