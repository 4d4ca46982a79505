#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "archive/backup_whole.h"

namespace weir::prune {

/// A base backup on this machine, or in a store (stored_backups.h).
struct FoundBackup {
  enum class State {
    finished,    ///< as far as its files show: see `vouched`
    unfinished,  ///< it is in progress, or was aborted
    unreadable,
  };
  std::string path{};
  State state = State::finished;
  /// Also set for an unfinished backup whose start is already known; never for an unreadable one.
  std::optional<archive::BackupPoint> point = std::nullopt;
  /// It has a manifest, which is written last, or was named as a backup. Otherwise the WAL must
  /// show that it was completed.
  bool vouched = false;
  /// Its data is in tar files only: it cannot be combined with the backups of a chain.
  bool in_tar = false;
  std::string problem{};  ///< of an unfinished one: why
  // Of a backup in a store:
  bool in_store = false;     ///< `path` is a name in it, "s3://bucket/…"
  std::uint64_t bytes = 0;   ///< of its objects
  bool keep_always = false;  ///< the program that made it is told to keep it for good
};

/// Where backups are searched.
struct Places {
  std::vector<std::string> named{};     ///< these are backups
  std::vector<std::string> searched{};  ///< these are backups, or have some somewhere below
  std::vector<std::string> ignored{};   ///< these are skipped everywhere
  archive::Depth depth = archive::Depth::whole;
};

/// Returns every backup found, each once. A directory that contains any file of a backup is one,
/// and its subdirectories are not searched; so is a tar file of any name with a backup_label at its
/// front. Names that start with a dot, lost+found and what a server has in a tablespace are
/// skipped. Unreadable backups are included. A searched one that has neither PG_VERSION nor a
/// base.tar is unfinished; a named one may have its data elsewhere. Throws Error{usage} if a named
/// path is not a backup, or a searched directory does not exist; Error{io} if it cannot be read
/// itself; and for a named one what archive::read_backup_point() throws.
[[nodiscard]] std::vector<FoundBackup> find_backups(const Places& places);

/// The directory in which the other backups of a chain with this one probably are; empty: the root
/// directory, which is not searched.
[[nodiscard]] std::string directory_beside(const std::string& backup);

}  // namespace weir::prune
