#pragma once

#include <optional>
#include <string>

#include "archive/backup_files.h"

namespace weir::archive {

/// What a base backup's files tell beyond its label and its manifest.
struct BackupContent {
  /// Why it is uncertain that all of the backup is present: a phrase that names the file. nullopt
  /// if nothing indicates a missing file.
  std::optional<std::string> missing{};
  /// The minimum recovery ending location of its pg_control, where that could be read.
  std::optional<wal::Lsn> min_recovery{};
};

/// How much is checked.
enum class Depth {
  names,  ///< a few stat() calls: for callers that check repeatedly
  whole,
};

/// Looks at every file that has to be there. A copy that was broken off has backup_label and
/// backup_manifest, which come first in the order of names. So:
///
/// - plain format: each file that the manifest names is there with its size, links followed
///   (without those that pg_verifybackup passes over); each link in pg_tblspc leads somewhere;
/// - tar format: base.tar and the tar file of each tablespace that its tablespace_map names. A raw
///   one is walked from header to header to its end. A compressed one without a manifest is read
///   and unpacked to its end.
///
/// A label or a manifest whose data lies elsewhere, and is not to be found, tells nothing. Takes
/// one stat() a file. Throws Error{io}, and Error{damage} for a manifest that cannot be read.
[[nodiscard]] BackupContent look_through(const BackupFiles& files, Depth depth = Depth::whole);

/// What the label and the manifest say (read_backup()), and what was found of the files: the one
/// judgement of a backup that prune and verify have. A standby's backup without a manifest ends at
/// the minimum recovery ending location: there the server counts it as consistent (StartupXLOG() in
/// access/transam/xlog.c, for "BACKUP FROM: standby"). Throws likewise.
[[nodiscard]] std::optional<BackupPoint> judge_backup(const BackupFiles& files,
                                                      Depth depth = Depth::whole);

}  // namespace weir::archive
