#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/directory.h"

namespace weir::backup {

// The names in the directory of the backups, and the order of what makes them durable. A backup
// counts under its name alone; what is being made or removed has a hidden one.

inline constexpr std::string_view kMaking = ".pgweir-backup-";
inline constexpr std::string_view kRemoving = ".pgweir-removed-";
inline constexpr std::string_view kLock = ".pgweir-backup.lock";

/// The name of a backup that begins now. The next second's if it is taken, and so on.
[[nodiscard]] std::string free_name(io::Directory& directory,
                                    std::chrono::system_clock::time_point now);

/// Gives what was made, and synced, its name. It counts, and stays so, when this has returned.
/// Throws Error{conflict} if the name is taken; Error{io}; Error{durability} if it has the name,
/// and may lose it at a power loss.
void publish(io::Directory& directory, const std::string& making, const std::string& name);

/// Removes these backups in this order: none is gone, also after a power loss, while one before it
/// in the list is still there by its name. `remove_tree` is called with hidden names. Throws
/// Error{io, durability}.
void remove(io::Directory& directory, const std::vector<std::string>& names,
            const std::function<void(const std::string& hidden)>& remove_tree);

/// Hidden directories that a run which was interrupted has left.
[[nodiscard]] std::vector<std::string> leftovers(io::Directory& directory);

/// Throws Error{retry} if a plain backup's pg_tblspc has a link besides these: the tablespace was
/// created after its server was asked for them, so that pg_basebackup wrote it to the location that
/// it has on the server (verify_dir_is_empty_or_create() in pg_basebackup.c creates that).
void require_no_other_tablespace(const std::string& data, const std::vector<std::string>& oids);

/// Keeps other runs from this directory, as long as this object or a process that inherited the
/// descriptor is there. The lock's file says which cluster's backups these are.
class PlaceLock {
 public:
  /// Throws Error{retry} if another run holds the lock, Error{io}.
  explicit PlaceLock(io::Directory& directory);
  /// Throws Error{conflict} if the directory is for the backups of another cluster; else notes that
  /// it is for those of this one.
  void require_cluster(std::uint64_t system_identifier);
  /// -1: it has none.
  [[nodiscard]] int descriptor() const;

 private:
  io::Directory& directory_;
  std::unique_ptr<io::File> file_;
};

}  // namespace weir::backup
