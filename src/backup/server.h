#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/branch.h"
#include "net/wake.h"
#include "pq/backup_plan.h"
#include "pq/conninfo.h"
#include "wal/segment.h"

namespace weir::backup {

/// The server that a backup is taken from, as it says over a replication connection.
struct Server {
  std::string name;
  int major = 0;
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  archive::ServerPlace place;
  bool archives = false;    ///< archive_mode is not off: a backup waits for archive_command
  bool summarizes = false;  ///< summarize_wal, since 17
  /// Of this one host, without a password.
  pq::ConninfoValues values;
  std::string password;  ///< of the connection string; empty: it has none
};

/// Throws Error{retry, refused, usage, protocol}, Interrupted.
[[nodiscard]] Server ask_server(const std::string& conninfo, const net::Wake& interrupt);

/// What a backup of that server would have. Throws likewise.
[[nodiscard]] pq::BackupPlan ask_plan(const Server& server, const net::Wake& interrupt);

}  // namespace weir::backup
