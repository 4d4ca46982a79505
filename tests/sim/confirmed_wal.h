#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "ledger.h"
#include "sim_store.h"
#include "wal/lsn.h"

namespace weir::sim {

/// P18: what servers were told to be flushed by a receiver that confirms what is stored. Each
/// position is held against the store at the moment when a server hears of it.
class ConfirmedWal {
 public:
  ConfirmedWal(const Lineage& lineage, SimStore& store, const Ledger& ledger)
      : lineage_(lineage), store_(store), ledger_(ledger) {}

  /// A stream begins: what is told in it speaks for everything before.
  void on_stream() { checked_.clear(); }
  /// A server, `whom` for messages, was told that everything before `flush` is. Throws Violation.
  void on_told(wal::TimelineId timeline, wal::Lsn flush, const char* whom);
  /// The store still has what it was told of last. Throws Violation.
  void check_last();
  [[nodiscard]] std::uint64_t segments() const { return segments_; }
  /// Positions inside a segment of which the store had the beginning only.
  [[nodiscard]] std::uint64_t beginnings() const { return beginnings_; }

 private:
  [[nodiscard]] bool in_store(wal::TimelineId timeline, std::uint64_t segno);
  [[nodiscard]] bool beginning_in_store(wal::TimelineId timeline, std::uint64_t segno,
                                        wal::Lsn flush);
  [[nodiscard]] bool let_go(std::uint64_t segno) const;
  [[nodiscard]] bool stored(wal::TimelineId timeline, std::uint64_t segno, wal::Lsn flush);

  const Lineage& lineage_;
  SimStore& store_;
  const Ledger& ledger_;
  std::map<wal::TimelineId, std::uint64_t> checked_;  ///< up to that segment, in this stream
  struct Told {
    wal::TimelineId timeline = 0;
    wal::Lsn flush;
    const char* whom = nullptr;
  };
  std::optional<Told> last_;
  std::uint64_t segments_ = 0;
  std::uint64_t beginnings_ = 0;
};

}  // namespace weir::sim
