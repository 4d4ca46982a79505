#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wal/lsn.h"
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
};

/// Throws Error{conflict} if the point says something that is not true with this segment size.
void require_agreement(const BackupPoint& point, wal::SegmentSize size);

/// Reads a backup_label, or a backup history file ("<segment>.<offset>.backup", as
/// pg_backup_stop() writes it); `file`, its path, tells which, and has to fit. Throws Error{damage}
/// if it is neither, Error{conflict} if one field contradicts another: whatever it is used for, a
/// wrong start would cut off the backup.
[[nodiscard]] BackupPoint parse_backup_label(std::string_view content, const std::string& file);

/// Reads a backup_manifest (its "WAL-Ranges"). Throws Error{damage}, Error{conflict}.
[[nodiscard]] BackupPoint parse_backup_manifest(std::string_view content, const std::string& file);

/// `path`: one of these files, or a plain backup directory with backup_manifest or backup_label in
/// it (then the system identifier is read from its global/pg_control, too). Throws Error{usage} if
/// it is not there, Error{io}, Error{damage}, Error{conflict} if the files contradict each other.
[[nodiscard]] BackupPoint read_backup_point(const std::string& path);

}  // namespace weir::archive
