#include "receive/intake.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace weir::receive {

void Intake::accept(std::span<const std::byte> wal) {
  PGWEIR_CHECK(held_.empty());
  if (const auto damage = verifier_.feed(wal)) {
    Error error(ErrorKind::damage, "the WAL that the server sent is damaged: " + damage->what);
    error.with("at", damage->at)
        .with("found at", damage->found_at)
        .with("timeline", writer_.timeline());
    if (damage->at >= begin_)
      error.hint(
          "Nothing from this record on was archived. If it comes back at the same place, check the "
          "upstream's WAL with pg_waldump. Damaged there, too: archive from another server of the "
          "cluster. Sound there: the server was set back to an earlier state, and what it writes "
          "now does not continue this archive; give it a directory of its own.");
    else
      error.hint(
          "The record begins in a segment that is finished: what is archived of it, or what comes "
          "now, is not what was written, and nothing behind it is acknowledged. Compare the "
          "segment with the upstream's pg_wal. If \"pgweir verify\" finds the archive sound and it "
          "differs, the server was set back to an earlier state: give it a directory of its own. "
          "Else move the segment away, and it is received again.");
    dispute_.reset();
    throw Error(std::move(error));
  }
  if (dispute_)
    decide();
  else
    held_ = wal;
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
    dispute_ = other;
    decide();
    held_ = {};
    return;
  } catch (...) {
    forget_written();
    throw;
  }
  forget_written();
}

/// A record that is complete has passed its checksum: it was written so, by whomever.
void Intake::decide() {
  if (verifier_.unchecked() || verifier_.last_record_end() > dispute_->at()) settle();
}

void Intake::settle() {
  if (!dispute_) return;
  const auto other = *std::exchange(dispute_, std::nullopt);
  throw archive::OtherWal(other);
}

}  // namespace weir::receive
