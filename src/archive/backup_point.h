#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::archive {

/// The WAL that a base backup needs, according to the backup's own files.
struct BackupPoint {
  wal::TimelineId timeline = 0;  ///< on which it started
  wal::Lsn start;                ///< the first byte that its recovery reads (the redo position)
  /// Where it becomes consistent, and on which timeline; nullopt if the file does not contain it (a
  /// backup_label does not: then a record in the WAL does, unless the backup is from a standby).
  std::optional<wal::Lsn> end = std::nullopt;
  wal::TimelineId end_timeline = 0;  ///< 0 without an end
  bool from_standby = false;
  std::uint64_t system_identifier = 0;  ///< 0 if not in the file
  std::string file{};                   ///< where all this was read
  /// Start of the record of the checkpoint with which the backup started; nullopt if not in the
  /// file.
  std::optional<wal::Lsn> checkpoint = std::nullopt;

  /// A position and the name of the segment that should contain it: consistent for some segment
  /// sizes only.
  struct Place {
    wal::Lsn lsn;
    wal::SegmentName segment;
    bool is_end = false;  ///< the name may be that of the segment that ends there
  };
  std::vector<Place> places{};
  std::optional<std::uint64_t> name_offset = std::nullopt;  ///< of a backup history file

  /// Start time, by the server's clock; nullopt if not in the file.
  std::optional<wal::PgTime> began = std::nullopt;
  std::string label{};  ///< given when it was made; empty: not reported
  /// Start of the backup that an incremental backup builds upon (since PostgreSQL 17): it is
  /// useless without that backup, and all that this one builds upon.
  struct Parent {
    wal::TimelineId timeline = 0;
    wal::Lsn start;
    bool operator==(const Parent&) const = default;
  };
  std::optional<Parent> parent = std::nullopt;
  /// Why it is uncertain that all of the backup's files are present (backup_whole.h); nullopt if
  /// nothing indicates a missing file, or the files were not checked.
  std::optional<std::string> missing = std::nullopt;
};

/// Throws Error{conflict} if the point contradicts itself with this segment size.
void require_agreement(const BackupPoint& point, wal::SegmentSize size);

/// True if the incremental `child` builds upon `other`. A backup that is known to be of another
/// cluster is none of these. A chain of them ends: each starts before its child.
[[nodiscard]] bool is_parent(const BackupPoint& child, const BackupPoint& other);

/// True if the incremental `child` builds upon `other`, and rather than upon `found` (nullptr: none
/// was found before): of two copies the one in plain format is taken, and rather the full backup
/// into which pg_combinebackup has combined an incremental one (it keeps the start) than that one,
/// which needs others. Both have a `point` that may be missing, and `in_tar`.
template <typename Backup>
[[nodiscard]] bool is_better_parent(const BackupPoint& child, const Backup& other,
                                    const Backup* found) {
  if (!other.point || !is_parent(child, *other.point)) return false;
  return found == nullptr || std::pair(other.in_tar, other.point->parent.has_value()) <
                                 std::pair(found->in_tar, found->point->parent.has_value());
}

/// Parses a backup_label, or a backup history file ("<segment>.<offset>.backup", as
/// pg_backup_stop() writes it). `file`, its path, determines which, and must match. Throws
/// Error{damage} if it is neither, Error{conflict} if one field contradicts another: a wrong start
/// would make the backup unusable.
[[nodiscard]] BackupPoint parse_backup_label(std::string_view content, const std::string& file);

}  // namespace weir::archive
