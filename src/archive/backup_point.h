#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"

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
};

/// Reads a backup_label, or a backup history file ("<segment>.<offset>.backup", as
/// pg_backup_stop() writes it). Throws Error{damage} if it is neither.
[[nodiscard]] BackupPoint parse_backup_label(std::string_view content, const std::string& file);

/// Reads a backup_manifest (its "WAL-Ranges"). Throws Error{damage}.
[[nodiscard]] BackupPoint parse_backup_manifest(std::string_view content, const std::string& file);

/// `path`: one of these files, or a plain backup directory with backup_manifest or backup_label in
/// it (then the system identifier is read from its global/pg_control, too). Throws Error{usage} if
/// it is not there, Error{io}, Error{damage}.
[[nodiscard]] BackupPoint read_backup_point(const std::string& path);

}  // namespace weir::archive
