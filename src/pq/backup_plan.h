#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pq/connection.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::pq {

/// What a base backup of a server would have, as the server says before it sends the first file
/// (documentation, "Streaming Replication Protocol", BASE_BACKUP).
struct BackupPlan {
  wal::Lsn start;
  wal::TimelineId timeline = 0;
  struct Tablespace {
    std::string oid;       ///< empty: the data directory
    std::string location;  ///< absolute; of an in-place tablespace relative
    std::uint64_t bytes = 0;
  };
  std::vector<Tablespace> tablespaces;
  [[nodiscard]] std::uint64_t bytes() const;
};

/// Begins a base backup, and ends it before any file is sent, by closing the connection: a physical
/// walsender has no SQL that would tell. It costs the server a checkpoint and a segment switch.
/// Throws the server's Error, Error{retry}, Error{protocol}, Interrupted.
[[nodiscard]] BackupPlan ask_backup_plan(Connection connection);

}  // namespace weir::pq
