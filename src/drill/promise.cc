#include "drill/promise.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "wal/page.h"
#include "wal/record_verifier.h"
#include "wal/records.h"

namespace weir::drill {

namespace {

constexpr std::size_t kRead = std::size_t{1} << 20;  ///< bytes at once

/// Follows the records as a recovery does, up to where it stops: recoveryStopsBefore() and
/// recoveryStopsAfter() in access/transam/xlogrecovery.c.
class Follower final : public wal::RecordObserver {
 public:
  Follower(const archive::BackupPoint& backup, const Target& target, wal::SegmentSize size,
           Promise& promise)
      : begin_(backup.start),
        target_(target),
        size_(size),
        promise_(promise),
        transactions_([this](const wal::TransactionEnd& end) {
          ended_ = end;
          return true;
        }) {}

  bool wants(const wal::RecordHeader& header) override {
    return wal::makes_tablespace(header) || transactions_.wants(header);
  }

  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (done_ || start < begin_) return;
    ended_.reset();
    if (transactions_.wants(header)) transactions_.on_record(start, end, header, body);
    if (target_.kind == Target::Kind::time && ended_ && ended_->commit.time > target_.time) {
      done_ = true;
      return;
    }
    if (wal::makes_tablespace(header) && !promise_.tablespace) {
      const auto location = wal::tablespace_location(body);
      // One in the data directory itself has none (allow_in_place_tablespaces).
      if (!location || !location->empty())
        promise_.tablespace = {start, location.value_or("a place that cannot be told")};
    }
    // A server takes the rest of the segment for a part of the switch.
    if (wal::is_xlog(header, wal::XlogRecord::segment_switch) && size_.offset(end) != 0)
      end = size_.start_of(end) + size_.bytes();
    promise_.position = end;
    promise_.last_record = start;
    if (ended_ && !ended_->aborted) promise_.commit = ended_->commit;
    done_ = target_.kind == Target::Kind::lsn && start >= target_.lsn;
  }

  [[nodiscard]] bool done() const { return done_; }

 private:
  const wal::Lsn begin_;
  const Target& target_;
  const wal::SegmentSize size_;
  Promise& promise_;
  wal::TransactionObserver transactions_;
  std::optional<wal::TransactionEnd> ended_;  ///< by the record that is looked at
  bool done_ = false;
};

void tell_damage(Promise& promise, wal::Lsn at, std::string_view what) {
  promise.problem = fmt::format("the WAL at {} is damaged: {}", at, what);
  promise.hint = "\"pgweir verify\" tells what else is; \"pgweir import\" brings a sound copy.";
}

void tell_hole(Promise& promise, wal::Lsn from, wal::Lsn to) {
  promise.problem = fmt::format("WAL is missing in the archive, from {} to {}", from, to);
  promise.hint =
      "No recovery gets over a hole: \"pgweir import\" mends it with a copy from elsewhere, and a "
      "base backup that began behind it can be recovered.";
}

void require_target(Promise& promise, const Target& target, const archive::BackupPoint& backup) {
  if (!promise.problem.empty()) return;
  if (target.kind != Target::Kind::latest) {
    promise.problem = fmt::format(
        "the archive ends before the target {}: at {}{}", target.to_string(), promise.position,
        promise.commit ? ", with the commit of " + promise.commit->time.to_string()
                       : std::string());
    promise.hint =
        "A recovery to a time needs a later commit, one to an LSN a record that begins there or "
        "behind it. \"--to latest\" recovers all there is.";
  } else if (backup.end && promise.position < *backup.end) {
    promise.problem = fmt::format("the archive ends at {}, before the backup does ({})",
                                  promise.position, *backup.end);
    promise.hint = "No recovery with this backup can open the database before its end.";
  }
}

}  // namespace

Target Target::parse(const std::string& text) {
  if (text == "latest") return {};
  if (const auto lsn = wal::Lsn::parse(text)) return {.kind = Kind::lsn, .lsn = *lsn};
  if (const auto time = wal::PgTime::parse(text)) return {.kind = Kind::time, .time = *time};
  throw Error(ErrorKind::usage, "")
      .hint("It is latest, an LSN such as 0/3000148, or a time such as '2026-11-20 03:14:15+00'.");
}

std::string Target::to_string() const {
  if (kind == Kind::lsn) return lsn.to_string();
  return kind == Kind::time ? time.to_string() : "latest";
}

namespace {

/// How often the archive is looked at where it seems to end and does not.
constexpr int kLooks = 10;

bool is_end(archive::WalSource::State state) {
  return state == archive::WalSource::State::gone || state == archive::WalSource::State::end;
}

/// Once through. nullopt: something was not sound, and another copy is to be read.
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
  while (!follower.done()) {
    if (stop()) throw Error(ErrorKind::retry, "stopped while the archive was looked through");
    const auto at = verifier.position();
    auto read = way.source.read(at, buffer);
    // A receiver may have finished the segment since, and begun the next one: what comes then is no
    // hole. Names and content are looked at again.
    std::optional<wal::Lsn> next;
    for (int looks = 0; is_end(read.state) && looks < kLooks; ++looks) {
      next = way.goes_on(at);
      if (!next) break;
      read = way.source.read(at, buffer);
    }
    if (is_end(read.state)) {
      if (next) tell_hole(promise, at, *next);
      break;
    }
    if (read.state == State::damaged) {
      if (way.has_another_copy()) return std::nullopt;
      tell_damage(promise, at, read.error->what());
      break;
    }
    const auto wal = std::span<const std::byte>(buffer).first(read.count);
    if (promise.server_major == 0)
      if (const auto page = wal::decode_page_header(wal))
        promise.server_major = wal::major_version_of_magic(page->magic).value_or(0);
    const auto damage = verifier.feed(wal);
    if (verifier.unchecked())
      throw Error(ErrorKind::refused, "the WAL is of a newer server than this pgweir knows")
          .with("LSN", at);
    if (!damage || follower.done()) continue;
    // An unfinished segment is zeros behind its end, or what was there before. Where WAL goes on
    // behind it, it is not the last one; unless a receiver has finished it since: then it was.
    const auto behind = size.start_of(damage->found_at) + size.bytes();
    if (way.unfinished() && (!way.goes_on(behind) || way.is_finished(damage->found_at))) break;
    if (way.has_another_copy()) return std::nullopt;
    tell_damage(promise, damage->at, damage->what);
    break;
  }
  promise.read_to = verifier.position();
  promise.bytes = promise.position - backup.start;
  if (!follower.done()) require_target(promise, target, backup);
  if (promise.problem.empty() && backup.end && promise.position < *backup.end) {
    promise.problem = fmt::format("the target lies before the end of the backup ({})", *backup.end);
    promise.hint = "Choose a later target, or an older backup.";
  }
  return promise;
}

}  // namespace

Promise look_through(const Way& way, const archive::BackupPoint& backup, const Target& target,
                     const std::function<bool()>& stop) {
  for (;;)
    if (auto promise = look_once(way, backup, target, stop)) return *promise;
}

}  // namespace weir::drill
