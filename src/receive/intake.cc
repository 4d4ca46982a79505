// Damaged WAL is requested again twice, since the transfer may be at fault, before manual
// intervention is required.

#include "receive/intake.h"

#include <algorithm>
#include <utility>

#include "receive/first_wal.h"

namespace weir::receive {

Intake::Intake(wal::RecordVerifier& verifier, archive::SegmentWriter& writer)
    : verifier_(verifier),
      writer_(writer),
      begin_(verifier.position()),
      last_(verifier.newest_record_start()) {
  if (last_.valid() && !verifier.unchecked()) alone_ = verifier.begin_afresh();
}

void Intake::accept(std::span<const std::byte> wal) {
  PGWEIR_CHECK(held_.empty());
  if (alone_) static_cast<void>(alone_->feed(wal));
  if (const auto damage = verifier_.feed(wal)) {
    on_damage(*damage);
    return;
  }
  if (version_is_known_ && verifier_.unchecked())
    throw error_of({.at = begin_,
                    .found_at = begin_,
                    .what = "unexpected page magic: of an unknown version, but the archive's WAL "
                            "is of a known one"});
  if (alone_ && verifier_.last_record_start() >= begin_) alone_.reset();
  if (dispute_) {
    decide();
    return;
  }
  held_ = wal;
  if (first_wal_ != nullptr)
    first_wal_->on_wal(wal::Lsn(verifier_.position().byte() - wal.size()), wal);
  records_end_ =
      (verifier_.unchecked() ? verifier_.position() : verifier_.last_record_end()).byte();
}

/// At the boundary between archive and stream: if WAL is valid in itself, but its first record's
/// prev-link is not the archive's last record, it was written like that, since the record's
/// checksum covers the link. It is another server's. (This does not apply if only the remaining
/// length of the archive's last record differs: no checksum covers page headers.)
void Intake::on_damage(const wal::Damage& damage) {
  auto error = error_of(damage);
  if (alone_ && !alone_->feed({})) {
    if (!alone_->last_record_end().valid()) {
      dispute_ = Dispute{std::move(error), damage.at};
      return;
    }
    if (alone_->first_record_previous() != last_) error = not_continued();
  }
  dispute_.reset();
  throw Error(std::move(error));
}

Error Intake::error_of(const wal::Damage& damage) const {
  Error error(ErrorKind::damage, "the WAL that the server sent is damaged: " + damage.what);
  error.with("at", damage.at)
      .with("found at", damage.found_at)
      .with("timeline", writer_.timeline());
  if (damage.at >= begin_)
    error.hint(
        "Nothing from this record on was archived. If the error recurs at this position, check the "
        "upstream's WAL with pg_waldump. If it is damaged there, too, archive from another server "
        "of the cluster. If it is valid there, the server was reset to an earlier state, and its "
        "WAL does not continue this archive: use a separate directory.");
  else
    error.hint(
        "The record starts in a complete segment: its archived part, or the WAL received now, is "
        "damaged. No later WAL is confirmed. Compare the segment with the upstream's pg_wal. If "
        "\"pgweir verify\" finds the archive valid and it differs, the server was reset to an "
        "earlier state: use a separate directory. Otherwise move the segment away, and it is "
        "received again.");
  return error;
}

Error Intake::not_continued() const {
  return Error(ErrorKind::conflict, "the server's WAL does not continue the archive")
      .with("timeline", writer_.timeline())
      .with("the server's record at", alone_->first_record_start())
      .with("names as the one before it", alone_->first_record_previous())
      .with("the archive's last record is at", last_)
      .hint(
          "This is valid WAL of a different server: the server was reset to an earlier state by a "
          "snapshot or a copy, or two servers were promoted to this timeline (split brain). None "
          "of this WAL was archived. Find out which server has the history that counts, and "
          "connect to that one. To archive the other one as well, use a separate directory, after "
          "a new base backup.");
}

void Intake::write(std::size_t most) {
  const auto before = writer_.position();
  const auto forget_written = [&] {
    held_ = held_.subspan(static_cast<std::size_t>(writer_.position() - before));
  };
  try {
    writer_.write(held_.first(std::min(most, held_.size())));
  } catch (const archive::OtherWal& other) {
    forget_written();
    dispute_ = Dispute{other, other.at()};
    decide();
    held_ = {};
    return;
  } catch (...) {
    forget_written();
    throw;
  }
  forget_written();
}

/// A complete record has passed its checksum: these bytes were written by a server.
void Intake::decide() {
  if (verifier_.unchecked() || verifier_.last_record_end() > dispute_->at) settle();
}

void Intake::settle() {
  if (!dispute_) return;
  throw Error(std::exchange(dispute_, std::nullopt)->error);
}

}  // namespace weir::receive
