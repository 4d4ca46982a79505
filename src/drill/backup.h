#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "drill/brought_settings.h"

namespace weir::drill {

class Sandbox;

/// A base backup that a drill brings back: a directory in plain format, or pg_basebackup's tar
/// files. It is only read.
struct Backup {
  std::string path;
  archive::BackupPoint point;
  std::string manifest;  ///< its path; empty: there is none
  /// Of a tar backup. The first is base.tar; the others are tablespaces.
  struct Tar {
    std::string path;
    std::string oid;  ///< "" of base.tar
  };
  std::vector<Tar> tars{};
  std::optional<int> major;  ///< by PG_VERSION; unset: it is in the tar file
  /// What it takes unpacked. Of compressed tar files without a manifest it is guessed.
  std::uint64_t bytes = 0;
};

/// Throws Error{usage} for what is no such backup, among them an incremental one; Error{damage, io,
/// conflict} for one that cannot be read.
[[nodiscard]] Backup open_backup(const std::string& path);

/// The newest other backup beside this one, in the same directory, of the same timeline or an older
/// one, that ended before `before` (or began before it, where its end is not known); nullopt: none
/// is found. What cannot be read is passed over.
[[nodiscard]] std::optional<std::string> older_backup(const Backup& backup, wal::Lsn before);

struct Brought {
  std::uint64_t bytes = 0;
  std::uint64_t shared_bytes = 0;
  SettingsFiles settings{};  ///< what is left out, for what it would have done
};
/// Brings its content into the sandbox: the data directory, and each tablespace beside it, with the
/// links in pg_tblspc leading there. Left out are WAL, slots, what a server makes anew, and all
/// that says how a server runs or whom it lets in. Throws Error{io, disk_full, damage};
/// Error{retry} if `stop` says true.
Brought bring(const Backup& backup, const Sandbox& sandbox, const std::function<bool()>& stop);

/// Names in the data directory that bring() leaves out, or changes.
[[nodiscard]] std::vector<std::string> changed_files();

}  // namespace weir::drill
