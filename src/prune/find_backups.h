#pragma once

#include <optional>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "archive/backup_whole.h"

namespace weir::prune {

/// A base backup somewhere on this machine.
struct FoundBackup {
  enum class State {
    finished,    ///< as far as its files tell: see `vouched`
    unfinished,  ///< it is being made, or its making broke off
    unreadable,
  };
  std::string path{};
  State state = State::finished;
  /// Of an unfinished one, if it tells already where it began; of an unreadable one never.
  std::optional<archive::BackupPoint> point = std::nullopt;
  /// It has a manifest, which is written last, or somebody names it as a backup. Else the WAL has
  /// to tell that it came to its end.
  bool vouched = false;
  std::string problem{};  ///< of one that is not finished: why
};

/// Where backups are looked for.
struct Places {
  std::vector<std::string> named{};     ///< these are backups
  std::vector<std::string> searched{};  ///< these are backups, or have some somewhere below
  std::vector<std::string> ignored{};   ///< these are passed by, wherever they come up
  archive::Depth depth = archive::Depth::whole;
};

/// Every backup there, each once. A directory is a backup if it has anything of one in it, and is
/// not searched any deeper then; so is a tar file of any name with a backup_label at its front.
/// Passed by are names that begin with a dot, and lost+found. What cannot be read is among what is
/// found. Throws Error{usage} if a named one is no backup, or a searched place is not there;
/// Error{io} if it cannot be read itself; and for a named one what archive::read_backup_point()
/// throws.
[[nodiscard]] std::vector<FoundBackup> find_backups(const Places& places);

}  // namespace weir::prune
