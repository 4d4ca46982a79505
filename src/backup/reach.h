#pragma once

#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "prune/retention.h"

namespace weir::backup {

/// What an archive has of the WAL that a backup needs, by the names of its files. Pure.
struct Reach {
  enum class State {
    covered,  ///< from the backup's begin to its end, without a hole
    waits,    ///< as far as it goes; the rest may still come
    lost,     ///< it cannot come any more
    foreign,  ///< the backup is of another branch
  };
  State state = State::foreign;
  const prune::Line* line = nullptr;  ///< of a covered one: on the way to that timeline
  std::string what{};                 ///< of all others: why
};

/// A backup whose end is not known (it has no manifest) is judged by its start alone.
[[nodiscard]] Reach find_reach(const archive::BackupPoint& backup,
                               const std::vector<prune::Line>& lines);

}  // namespace weir::backup
