#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/backup_point.h"

namespace weir::prune {

/// A `backup.info`, as barman-cloud-backup stores it last of all objects of a backup
/// (`BackupInfo` in Barman's infofile.py: lines "name=value", "None" for nothing).
struct BarmanBackup {
  std::string status{};  ///< "DONE", "FAILED", "STARTED", …
  std::string error{};   ///< of a failed one; empty: not told
  /// nullopt: it has not begun, as far as the file says.
  std::optional<archive::BackupPoint> point = std::nullopt;
  std::vector<std::string> tablespaces{};  ///< their OIDs
  bool snapshot = false;                   ///< its data are snapshots of disks, not objects
  std::string parent_id{};  ///< of the backup that it is incremental to; empty: a full one
};

/// `file`: its name, for messages. Throws Error{damage} if it is not such a file, Error{conflict}
/// if one field contradicts another. Pure.
[[nodiscard]] BarmanBackup parse_barman_info(std::string_view text, const std::string& file);

}  // namespace weir::prune
