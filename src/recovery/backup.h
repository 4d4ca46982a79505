#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "recovery/brought_settings.h"

namespace weir::recovery {

/// A base backup that is brought back: a directory in plain format, or pg_basebackup's tar
/// files. It is only read.
struct Backup {
  std::string path;
  archive::BackupPoint point;
  std::string manifest;  ///< its path; empty: there is none
  /// A file of a tar backup. The first is base.tar; the others are tablespaces.
  struct Tar {
    std::string path;
    std::string oid;          ///< "" of base.tar
    std::uint64_t bytes = 0;  ///< after extraction
  };
  std::vector<Tar> tars{};
  std::optional<int> major;  ///< by PG_VERSION; unset: it is in the tar file
  /// Size after extraction. Estimated for compressed tar files without a manifest.
  std::uint64_t bytes = 0;
};

/// Throws Error{usage} if it is not such a backup, which includes an incremental one unless that is
/// requested; Error{damage, io, conflict} for an unreadable one, or a plain one without the links
/// that its tablespace_map names.
[[nodiscard]] Backup open_backup(const std::string& path, bool incremental = false);

/// Returns the newest other backup in the same directory, of the same timeline or an older one,
/// that ended before `before` (or started before it, if its end is unknown); nullopt if none is
/// found. Unreadable backups are skipped.
[[nodiscard]] std::optional<std::string> older_backup(const Backup& backup, wal::Lsn before);

/// A tablespace of a backup: its OID, and its location on its server, according to the backup.
struct Tablespace {
  std::string oid;
  std::string location;
  std::uint64_t bytes = 0;
  /// The link of a plain backup still leads to the location in its tablespace_map, the original
  /// one: the files there may be those of a running server.
  bool is_original = false;
};
/// Ordered by name. Throws Error{io, damage}; Error{damage} if one is missing.
[[nodiscard]] std::vector<Tablespace> tablespaces_of(const Backup& backup);

/// The destination of a backup's content, and the parts to copy.
struct Layout {
  std::string data;
  std::function<std::string(const std::string& oid)> tablespace;
  /// True: include the server's configuration and access rules.
  bool settings = false;
  /// The name for global/pg_control: without that file no server starts on an incomplete directory.
  std::string control = "global/pg_control";
  /// Called between the pieces with the number of bytes that are there; empty: not called.
  std::function<void(std::uint64_t bytes)> progress = {};
};
struct Brought {
  std::uint64_t bytes = 0;
  std::uint64_t shared_bytes = 0;
  SettingsFiles settings{};  ///< of the backup, for what they do or would have done
  /// Links at the top of the backup's data directory (pg_wal, log) in whose place there is an empty
  /// directory now.
  std::vector<std::string> emptied_links{};
  bool group_access = false;  ///< the backup's PG_VERSION may be read by its group (initdb -g)
};
/// Copies its content there: the data directory, and each tablespace, with the links in pg_tblspc
/// pointing there. Excludes WAL, slots, what a server recreates, files that show that one is
/// running or to be recovered, and without Layout::settings all settings. Throws Error{io,
/// disk_full, damage}; Error{retry} if `stop` returns true.
Brought bring(const Backup& backup, const Layout& layout, const std::function<bool()>& stop);

/// Names in the data directory that bring() excludes, or that are changed.
[[nodiscard]] std::vector<std::string> changed_files();

/// Removes existing files that bring() excludes, for example from the output of pg_combinebackup.
void clean(const std::string& data);
/// True for links at the top of the data directory that are replaced by an empty directory: pg_wal,
/// log, pg_log. Their targets belong to the old server.
[[nodiscard]] bool is_emptied_link(std::string_view name);

}  // namespace weir::recovery
