#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::archive {

/// What a base backup needs of the WAL, as its own files tell it.
struct BackupPoint {
  wal::TimelineId timeline = 0;  ///< on which it began
  wal::Lsn start;                ///< the first byte that its recovery reads (the redo position)
  /// Where it becomes consistent, and on which timeline; nullopt where the file does not tell (a
  /// backup_label does not: then a record in the WAL does, unless it is of a standby).
  std::optional<wal::Lsn> end = std::nullopt;
  wal::TimelineId end_timeline = 0;  ///< 0 without an end
  bool from_standby = false;
  std::uint64_t system_identifier = 0;  ///< 0 where the file does not tell
  std::string file{};                   ///< where all this was read
  /// Where the record of the checkpoint begins that the backup began with; nullopt: not told.
  std::optional<wal::Lsn> checkpoint = std::nullopt;

  /// A position and the name of the segment that is said to have it: true for some segment sizes.
  struct Place {
    wal::Lsn lsn;
    wal::SegmentName segment;
    bool is_end = false;  ///< the name may be that of the segment that ends there
  };
  std::vector<Place> places{};
  std::optional<std::uint64_t> name_offset = std::nullopt;  ///< of a backup history file

  /// When it began, by the server's clock; nullopt: not told.
  std::optional<wal::PgTime> began = std::nullopt;
  /// Where the backup began that an incremental one has only the difference to (PostgreSQL 17 on):
  /// without that one, and those before it, it is no backup.
  struct Parent {
    wal::TimelineId timeline = 0;
    wal::Lsn start;
    bool operator==(const Parent&) const = default;
  };
  std::optional<Parent> parent = std::nullopt;
  /// Why it cannot be said that all of the backup's files are there (backup_whole.h); nullopt:
  /// nothing speaks against it, or nobody has looked.
  std::optional<std::string> missing = std::nullopt;
};

/// Throws Error{conflict} if the point says something that is not true with this segment size.
void require_agreement(const BackupPoint& point, wal::SegmentSize size);

/// Reads a backup_label, or a backup history file ("<segment>.<offset>.backup", as
/// pg_backup_stop() writes it); `file`, its path, tells which, and has to fit. Throws Error{damage}
/// if it is neither, Error{conflict} if one field contradicts another: whatever it is used for, a
/// wrong start would cut off the backup.
[[nodiscard]] BackupPoint parse_backup_label(std::string_view content, const std::string& file);

}  // namespace weir::archive
