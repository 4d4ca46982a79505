#pragma once

#include <cstdint>
#include <string>

namespace weir::io {

/// Properties of a directory's file system and permissions.
struct Place {
  std::string file_system;  ///< "ext4", "xfs", "nfs", …; "0x1234" for one that is not known
  bool in_memory = false;   ///< lost in a power failure
  bool over_network = false;
  bool user_space = false;  ///< FUSE: another program determines the effect of an fsync
  bool read_only = false;
  std::uint64_t bytes = 0;       ///< of the file system
  std::uint64_t system_id = 0;   ///< its ID (statvfs(3)); 0: it has none, as over FUSE or NFS
  std::uint64_t free_bytes = 0;  ///< for an unprivileged writer
  unsigned mode = 0;             ///< permission bits
  unsigned owner = 0;
  std::string owner_name;
  bool ours = false;      ///< it belongs to the user of this process
  bool writable = false;  ///< this process may make files in it
};

/// Throws Error{io}, with a hint, if there is no such directory.
[[nodiscard]] Place inspect_place(const std::string& path);

/// Queries the directory's file system for a name that is in no cache. Returns as soon as it has
/// responded, with any result; hangs as long as the file system does.
void ask_file_system(const std::string& directory);

/// True if another host, or a program in user space, changes files there without the knowledge of
/// this kernel, so that inotify(7) does not report it. Throws Error{io}.
[[nodiscard]] bool changes_elsewhere(const std::string& path);

/// Throws Error{io}, with a hint, if this process may not make files in that directory: it is
/// mounted read-only (for a systemd unit: it is not among its ReadWritePaths=), or of another user.
void require_writable(const std::string& directory);

}  // namespace weir::io
