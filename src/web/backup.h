#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/backup_point.h"
#include "wal/lsn.h"
#include "wal/pg_time.h"

namespace weir::web {

/// A base backup, as the page shows it. A value.
struct Backup {
  enum class Format { plain, tar };
  std::string name{};   ///< its path, or of a backup history file that file's name
  std::string label{};  ///< empty: not told
  wal::TimelineId timeline = 0;
  wal::Lsn start{};               ///< the first byte that its recovery reads; invalid: not known
  std::optional<wal::Lsn> end{};  ///< where it becomes consistent; nullopt: not told
  std::optional<wal::PgTime> began{};    ///< by the server's clock; nullopt: not told
  std::optional<Format> format{};        ///< nullopt: its files are not here
  std::optional<std::uint64_t> bytes{};  ///< nullopt: not known without a look at each file
  /// Where the backup began that an incremental one builds upon; nullopt: it is a full one.
  std::optional<archive::BackupPoint::Parent> parent{};
  std::string base{};     ///< the name of that backup; empty: it is not here
  std::string problem{};  ///< why it does not count; empty: by its own files it does
  bool operator==(const Backup&) const = default;
};

}  // namespace weir::web
