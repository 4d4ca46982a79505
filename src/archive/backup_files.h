#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "archive/backup_point.h"
#include "codec/codec.h"

namespace weir::archive {

/// Which files of a base backup there are where its path leads.
struct BackupFiles {
  /// The backup's directory; of a backup_label, a manifest or a tar file that file.
  std::string path{};
  // Paths; empty: there is none.
  std::string label{};
  std::string manifest{};
  std::string tar{};                 ///< base.tar in any format, or another named tar file
  bool control = false;              ///< global/pg_control exists
  bool manifest_unfinished = false;  ///< pg_basebackup is writing it ("backup_manifest.tmp")
};

/// Why an incremental backup that has, or builds upon, tar files does not count: no recovery can
/// use it.
inline constexpr std::string_view kTarInChain =
    "it is incremental, and it or a backup that it builds upon has tar files: pg_combinebackup "
    "requires plain backups";

/// Returns the compression method of a tar file of that name; nullopt for a different name.
[[nodiscard]] std::optional<codec::Method> tar_method(std::string_view name);
/// "base.tar", "monday.tar.gz", …
[[nodiscard]] bool is_tar_name(std::string_view name);
/// The main file of a backup in tar format.
[[nodiscard]] bool is_base_tar_name(std::string_view name);

/// Returns the files found, or nullopt if there are none. Throws Error{io}.
[[nodiscard]] std::optional<BackupFiles> look_at_backup(const std::string& path);

/// Reads what the files say together; of an unfinished backup, what is already known. Returns
/// nullopt if there is neither a label nor a manifest, and the tar file has no label among its
/// first entries. Throws Error{io}, Error{damage}, Error{conflict} if the files contradict each
/// other.
[[nodiscard]] std::optional<BackupPoint> read_backup(const BackupFiles& files);

/// Returns the result of judge_backup() (backup_whole.h).
///
/// `path`: a backup_label, a backup history file, a backup_manifest, a tar backup's base.tar, or
/// the directory of a backup in plain or tar format (for a plain one the system identifier is also
/// read from its global/pg_control). Throws Error{usage} if it is none of these, and as above.
[[nodiscard]] BackupPoint read_backup_point(const std::string& path);

}  // namespace weir::archive
