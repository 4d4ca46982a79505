#include "receive/intake.h"

#include <algorithm>

#include "base/error.h"

namespace weir::receive {

void Intake::accept(std::span<const std::byte> wal) {
  PGWEIR_CHECK(held_.empty());
  if (const auto damage = verifier_.feed(wal))
    throw Error(ErrorKind::damage, "the WAL that the server sent is damaged: " + damage->what)
        .with("at", damage->at)
        .with("found at", damage->found_at)
        .with("timeline", writer_.timeline())
        .hint(
            "Nothing from this record on was archived. If it comes back at the same place, check "
            "the upstream's WAL with pg_waldump, and archive from another server of the cluster.");
  held_ = wal;
}

void Intake::write(std::size_t most) {
  const auto before = writer_.position();
  const auto forget_written = [&] {
    held_ = held_.subspan(static_cast<std::size_t>(writer_.position() - before));
  };
  try {
    writer_.write(held_.first(std::min(most, held_.size())));
  } catch (...) {
    forget_written();
    throw;
  }
  forget_written();
}

}  // namespace weir::receive
