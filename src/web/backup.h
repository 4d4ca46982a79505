#pragma once

#include <optional>
#include <string>

#include "wal/lsn.h"
#include "wal/pg_time.h"

namespace weir::web {

/// A base backup, as the page shows it. A value.
struct Backup {
  std::string name{};   ///< its path, or of a backup history file that file's name
  std::string label{};  ///< empty: not told
  wal::TimelineId timeline = 0;
  wal::Lsn start{};                    ///< the first byte that its recovery reads
  std::optional<wal::Lsn> end{};       ///< where it becomes consistent; nullopt: not told
  std::optional<wal::PgTime> began{};  ///< by the server's clock; nullopt: not told
  bool finished = true;                ///< false: it is being made, or its making broke off
  bool operator==(const Backup&) const = default;
};

}  // namespace weir::web
