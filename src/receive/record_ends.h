#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "wal/lsn.h"

namespace weir::receive {

/// Some of the places where a record of the WAL ends, in order. A value.
///
/// A server that is promoted begins its new timeline behind the last record that it has whole. What
/// it has received may end in the middle of one, and that one may begin in an earlier segment: a
/// slot that was moved to the middle does not keep the segment in which the new timeline begins. So
/// slots of servers that may be promoted are moved to ends of records only. Which ones are known is
/// of no importance: some from time to time will do, and a bounded number of them.
class RecordEnds {
 public:
  static constexpr std::size_t kMost = 128;

  /// What does not lie behind the newest one is known already.
  void add(wal::Lsn end);
  /// What lies behind is not part of the history any more.
  void cut(wal::Lsn end);
  [[nodiscard]] std::optional<wal::Lsn> last_up_to(wal::Lsn end) const;

 private:
  std::vector<wal::Lsn> ends_;
};

}  // namespace weir::receive
