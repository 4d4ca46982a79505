#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "wal/lsn.h"

namespace weir::receive {

/// Some of the record ends in the WAL, in order. A value.
///
/// A promoted server starts its new timeline after its last complete record. Its received WAL may
/// end inside a record, which may start in an earlier segment: a slot that was advanced into it
/// does not retain the segment in which the new timeline starts. So slots of failover candidates
/// are advanced to record ends only. Any selection of them suffices: some from time to time, and a
/// bounded number.
class RecordEnds {
 public:
  static constexpr std::size_t kMost = 128;

  /// Ignores positions up to the newest one.
  void add(wal::Lsn end);
  /// Later positions are no longer part of the history.
  void cut(wal::Lsn end);
  [[nodiscard]] std::optional<wal::Lsn> last_up_to(wal::Lsn end) const;

 private:
  std::vector<wal::Lsn> ends_;
};

}  // namespace weir::receive
