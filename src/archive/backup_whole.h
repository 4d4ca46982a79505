#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/backup_files.h"

namespace weir::archive {

/// The content of a base backup's files, beyond its label and its manifest.
struct BackupContent {
  /// Why it is uncertain that all of the backup is present: a phrase that names the file. nullopt
  /// if nothing indicates a missing file.
  std::optional<std::string> missing{};
  /// The minimum recovery ending location of its pg_control, if it could be read.
  std::optional<wal::Lsn> min_recovery{};
  /// The system identifier in the pg_control of a backup in tar format; 0 if it was not read.
  std::uint64_t system_identifier = 0;
};

/// How much is checked.
enum class Depth {
  /// A few stat() calls: for callers that check repeatedly. Tar files without a manifest are
  /// treated as below if they are raw; compressed ones would have to be read: they are `missing`.
  names,
  whole,
};

/// Checks every required file. An aborted copy has backup_label and backup_manifest, which come
/// first in the order of names. Therefore:
///
/// - plain format: each file named in the manifest exists with its size, following links (except
///   for those that pg_verifybackup skips), or without a manifest the directories and the few files
///   without which no server starts; the target of each link in pg_tblspc exists;
/// - tar format: base.tar and the tar file of each tablespace that its tablespace_map names. A raw
///   one is walked from header to header to its end. A compressed one without a manifest is read
///   and decompressed to its end; with one, only its front is read, which pg_control, the last
///   file, is not in.
///
/// A label or a manifest whose data is elsewhere, and cannot be found, proves nothing. Takes one
/// stat() for each file. Throws Error{io}, and Error{damage} for a manifest that cannot be read.
[[nodiscard]] BackupContent look_through(const BackupFiles& files, Depth depth = Depth::whole);

/// The contents of the label and the manifest (read_backup()), and the result of checking the
/// files: used by both prune and verify. A standby's backup without a manifest ends at the minimum
/// recovery ending location: the server treats it as consistent there (StartupXLOG() in
/// access/transam/xlog.c, for "BACKUP FROM: standby"). A manifest from before PostgreSQL 17 has no
/// system identifier: that of pg_control in a raw tar file is used. Throws likewise, and
/// Error{conflict} if the manifest has another one.
[[nodiscard]] std::optional<BackupPoint> judge_backup(const BackupFiles& files,
                                                      Depth depth = Depth::whole);

}  // namespace weir::archive
