#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_whole.h"
#include "backup/options.h"
#include "prune/find_backups.h"
#include "prune/retention.h"

namespace weir::backup {

/// A backup that is there.
struct Standing {
  std::string name;  ///< in the directory of the backups
  std::string path;
  prune::FoundBackup
      found;        ///< its path: of what has its files, the path above or a directory in it
  std::string why;  ///< it does not count; empty: it does
  /// It is whole, but on a branch that the newest timeline does not contain: it does not count as a
  /// backup of the cluster either. Empty: it is on the newest one, or the archive was not asked.
  std::string abandoned{};
  std::string base;         ///< the backup that an incremental one builds upon; empty: none here
  bool for_others = false;  ///< it does not count itself, but a good one builds upon it
  Format format = Format::plain;
  std::optional<std::uint64_t> bytes;  ///< nullopt: not known, see prune::BackupSizes
  std::optional<std::chrono::system_clock::time_point> began;
  [[nodiscard]] bool good() const { return why.empty(); }
  [[nodiscard]] bool counts() const { return good() && abandoned.empty(); }
};

/// Every backup there, by its position. One counts if each of its files is there with its size, all
/// that it builds upon is there, and the archive has WAL from its start to its end, by the names of
/// its files; without a manifest, whose end is not known, at its start. nullptr: the archive is not
/// known, and not asked. Throws Error{io}, Error{usage} if there is no such directory.
[[nodiscard]] std::vector<Standing> find_standing(const std::string& directory,
                                                  const std::vector<prune::Line>* lines,
                                                  archive::Depth depth = archive::Depth::whole);

/// The one that an incremental backup is made upon, on the way of `history`: the newest that
/// counts, in plain format. nullptr: there is none.
[[nodiscard]] const Standing* newest_base(const std::vector<Standing>& standing,
                                          const wal::TimelineHistory& history);
/// The backup that an incremental one builds upon, in plain format if it exists in both; nullptr:
/// it is a full one, or there is none here.
[[nodiscard]] const Standing* base_of(const std::vector<Standing>& standing, const Standing& child);
/// Backups in a row from this one down to a full one, both counted.
[[nodiscard]] std::size_t length_of_chain(const std::vector<Standing>& standing,
                                          const Standing& last);

}  // namespace weir::backup
