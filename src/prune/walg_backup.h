#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "archive/backup_point.h"

namespace weir::prune {

/// The segment in which a backup of WAL-G begins, by its name: "base_000000010000000000000004",
/// or "base_000000010000000000000007_D_000000010000000000000004" for one that is incremental to
/// another. nullopt: it is not such a name. Pure, as the functions below.
[[nodiscard]] std::optional<wal::SegmentName> first_segment_of_walg(std::string_view name);

/// A "…_backup_stop_sentinel.json", which WAL-G stores last of all objects of a backup
/// (BackupSentinelDto and BackupSentinelDtoV2 in its backup_sentinel_dto.go: positions are
/// numbers). `name`: the backup's. Throws Error{damage} if it cannot be read, or has no begin,
/// Error{conflict} if it contradicts itself.
[[nodiscard]] archive::BackupPoint parse_walg_sentinel(std::string_view text, std::string_view name,
                                                       const std::string& file);

/// A metadata.json among the backup's objects (ExtendedMetadataDto there).
struct WalgMetadata {
  std::optional<wal::PgTime> began = std::nullopt;
  bool permanent = false;  ///< "wal-g backup-mark": no retention removes it
};
/// Throws Error{damage} if it cannot be read.
[[nodiscard]] WalgMetadata parse_walg_metadata(std::string_view text, const std::string& file);

}  // namespace weir::prune
