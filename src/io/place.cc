#include "io/place.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>

#include "base/error.h"
#include "io/posix_directory.h"

namespace weir::io {

namespace {

enum class PlaceKind { local, memory, network, user_space };

struct Known {
  std::uint32_t magic;
  const char* name;
  PlaceKind kind;
};

// linux/magic.h and, for the other ones, the file systems' own sources and statfs(2).
constexpr Known kKnown[] = {
    {EXT4_SUPER_MAGIC, "ext4", PlaceKind::local},
    {XFS_SUPER_MAGIC, "xfs", PlaceKind::local},
    {BTRFS_SUPER_MAGIC, "btrfs", PlaceKind::local},
    {0x2fc12fc1, "zfs", PlaceKind::local},
    {F2FS_SUPER_MAGIC, "f2fs", PlaceKind::local},
    {NILFS_SUPER_MAGIC, "nilfs2", PlaceKind::local},
    {MSDOS_SUPER_MAGIC, "vfat", PlaceKind::local},
    {0x3153464a, "jfs", PlaceKind::local},
    {OVERLAYFS_SUPER_MAGIC, "overlay", PlaceKind::local},
    {TMPFS_MAGIC, "tmpfs", PlaceKind::memory},
    {RAMFS_MAGIC, "ramfs", PlaceKind::memory},
    {NFS_SUPER_MAGIC, "nfs", PlaceKind::network},
    {SMB_SUPER_MAGIC, "smb", PlaceKind::network},
    {0xff534d42, "cifs", PlaceKind::network},
    {0xfe534d42, "smb2", PlaceKind::network},
    {CEPH_SUPER_MAGIC, "ceph", PlaceKind::network},
    {V9FS_MAGIC, "9p", PlaceKind::network},
    {0x0bd00bd0, "lustre", PlaceKind::network},
    {0x47504653, "gpfs", PlaceKind::network},
    {0x01161970, "gfs2", PlaceKind::network},
    {0x65735546, "fuse", PlaceKind::user_space},
};

/// nullptr: it is none of these.
const Known* known_of(const struct statfs& system) {
  const auto magic = static_cast<std::uint32_t>(system.f_type);
  for (const auto& known : kKnown)
    if (known.magic == magic) return &known;
  return nullptr;
}

std::string user_name(uid_t user) {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return found->pw_name;
  return fmt::format("{}", user);
}

}  // namespace

Place inspect_place(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    const int code = errno;
    auto error = system_error(code, "could not access the directory").with("path", path);
    if (code == ENOENT)
      error.hint(
          "For an existing archive, check the path, and that its file system is mounted. A new "
          "archive needs a directory that belongs to the user that runs pgweir. " +
          what_is_nearby(path));
    throw error;
  }
  if (!S_ISDIR(status.st_mode)) throw system_error(ENOTDIR, "no directory").with("path", path);
  struct statfs system {};
  struct statvfs space {};
  if (::statfs(path.c_str(), &system) != 0 || ::statvfs(path.c_str(), &space) != 0)
    throw system_error(errno, "could not determine the file system").with("path", path);

  Place place;
  place.file_system = fmt::format("{:#x}", static_cast<std::uint32_t>(system.f_type));
  if (const auto* known = known_of(system)) {
    place.file_system = known->name;
    place.in_memory = known->kind == PlaceKind::memory;
    place.over_network = known->kind == PlaceKind::network;
    place.user_space = known->kind == PlaceKind::user_space;
  }
  place.read_only = (space.f_flag & ST_RDONLY) != 0;
  place.bytes = std::uint64_t{space.f_blocks} * space.f_frsize;
  place.free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  place.system_id = space.f_fsid;
  place.mode = status.st_mode & 07777u;
  place.owner = status.st_uid;
  place.owner_name = user_name(status.st_uid);
  place.ours = status.st_uid == ::geteuid();
  place.writable = ::eaccess(path.c_str(), R_OK | W_OK | X_OK) == 0;
  return place;
}

void ask_file_system(const std::string& directory) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  const auto name = fmt::format("{}/.pgweir-is-it-there-{}-{}", directory, ::getpid(), now);
  struct stat status {};
  static_cast<void>(::stat(name.c_str(), &status));
}

bool changes_elsewhere(const std::string& path) {
  struct statfs system {};
  if (::statfs(path.c_str(), &system) != 0)
    throw system_error(errno, "could not determine the file system").with("path", path);
  const auto* known = known_of(system);
  return known != nullptr &&
         (known->kind == PlaceKind::network || known->kind == PlaceKind::user_space);
}

void require_writable(const std::string& directory) {
  if (::eaccess(directory.c_str(), W_OK | X_OK) == 0) return;
  const int code = errno;
  auto error =
      system_error(code, "the archive directory cannot be written").with("path", directory);
  if (code != EROFS)
    throw std::move(error).hint(
        "The user that runs pgweir lacks permission. Check owner and mode of the directory.");
  // systemd.exec(5): it is set for each service.
  if (std::getenv("INVOCATION_ID") != nullptr)
    throw std::move(error).hint(
        fmt::format("A service can write only where its unit allows it (ProtectSystem=): add "
                    "ReadWritePaths={} under [Service] with \"systemctl edit\" (docs/service.md). "
                    "If it is there, the file system itself is read-only.",
                    directory));
  throw std::move(error).hint(
      "The file system is mounted read-only, or the kernel made it read-only after a disk error. "
      "Check the mount and the kernel log.");
}

}  // namespace weir::io
