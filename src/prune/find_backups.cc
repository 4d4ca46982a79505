#include "prune/find_backups.h"

#include <algorithm>
#include <set>

#include "archive/backup_files.h"
#include "archive/backup_whole.h"
#include "base/error.h"
#include "io/user_tree.h"

namespace weir::prune {

namespace {

using State = FoundBackup::State;

/// A backup directory is not nested deeper than this, unlike a loop of links.
constexpr int kDeepest = 8;

class Finder {
 public:
  explicit Finder(const Places& places) : depth_(places.depth) {
    for (const auto& path : places.ignored) seen_.insert(io::real_path(path));
    for (const auto& path : places.named) add_named(path);
    for (const auto& path : places.searched) search_place(path);
  }

  std::vector<FoundBackup> found;

 private:
  bool is_new(const std::string& path) { return seen_.insert(io::real_path(path)).second; }

  void add_named(const std::string& path) {
    if (!is_new(path)) return;
    FoundBackup backup{.path = path, .vouched = true};
    backup.point = archive::read_backup_point(path);
    backup.in_tar = is_in_tar(archive::look_at_backup(path));
    if (backup.point->missing) {
      backup.state = State::unfinished;
      backup.problem = *backup.point->missing;
    }
    found.push_back(std::move(backup));
  }

  void search_place(const std::string& path) {
    const auto type = io::type_of(path);
    if (type == io::PathType::nothing)
      throw Error(ErrorKind::usage, "location of backups does not exist")
          .with("path", path)
          .hint("Nothing was removed. Check the path, and that its file system is mounted.");
    if (!is_new(path)) return;
    if (type == io::PathType::directory) {
      search(path, io::list_user_directory(path), 0);
    } else {
      seen_.erase(io::real_path(path));
      add_named(path);
    }
  }

  void search(const std::string& path, const std::vector<io::UserEntry>& entries, int depth) {
    if (is_backup(entries, depth)) {
      add(path);
      if (!is_tar_backup(entries)) return;
    }
    for (const auto& entry : entries) {
      if (entry.name.starts_with('.') || entry.name == "lost+found") continue;
      if (entry.name == "tablespaces" && has_data_beside(path)) continue;
      if (entry.type == io::PathType::directory && is_of_a_tablespace(entry.name)) continue;
      const auto below = path + (path.ends_with('/') ? "" : "/") + entry.name;
      if (entry.type == io::PathType::file && archive::is_tar_name(entry.name) &&
          !is_tar_backup(entries) && is_new(below))
        add_tar(below);
      if (entry.type != io::PathType::directory || !is_new(below)) continue;
      if (depth == kDeepest) {
        found.push_back({.path = below,
                         .state = State::unreadable,
                         .problem = "the directory is too deep, and is not searched"});
        continue;
      }
      std::vector<io::UserEntry> inside;
      try {
        inside = io::list_user_directory(below);
      } catch (const Error& error) {
        found.push_back({.path = below, .state = State::unreadable, .problem = error.message()});
        continue;
      }
      search(below, inside, depth + 1);
    }
  }

  /// Any file that only a base backup has, from its first moment on: in plain format, with its WAL,
  /// there is only pg_wal at first. (A directory for backups may also contain that.)
  static bool is_backup(const std::vector<io::UserEntry>& entries, int depth) {
    if (depth > 0 && entries.size() == 1 && entries.front().name == "pg_wal") return true;
    return has(entries, [](std::string_view name) {
      return name == "backup_label" || name.starts_with("backup_manifest") ||
             name == "PG_VERSION" || is_tar_of_backup(name);
    });
  }
  /// The tablespaces of a backup that lies as NAME/data (`pgweir backup`) are not searched.
  static bool has_data_beside(const std::string& path) {
    return io::type_of(path + "/data/PG_VERSION") == io::PathType::file;
  }
  /// "PG_15_202209061" (TABLESPACE_VERSION_DIRECTORY in common/relpath.h): what a server has in the
  /// location of a tablespace, here that of --tablespace-mapping. The directory of each database in
  /// it has a PG_VERSION, and is not a backup.
  static bool is_of_a_tablespace(std::string_view name) {
    constexpr std::string_view kPrefix = "PG_", kDigits = "0123456789";
    if (!name.starts_with(kPrefix)) return false;
    name.remove_prefix(kPrefix.size());
    const auto major = name.find_first_not_of(kDigits);
    return major != 0 && major != std::string_view::npos && name[major] == '_' &&
           major + 1 < name.size() &&
           name.find_first_not_of(kDigits, major + 1) == std::string_view::npos;
  }
  /// Other backups may lie in folders next to its files.
  static bool is_tar_backup(const std::vector<io::UserEntry>& entries) {
    return has(entries, is_tar_of_backup) && !has(entries, [](std::string_view name) {
             return name == "backup_label" || name == "PG_VERSION";
           });
  }
  static bool is_tar_of_backup(std::string_view name) {
    return archive::is_base_tar_name(name) ||
           (archive::is_tar_name(name) && name.starts_with("pg_wal."));
  }
  template <typename Test>
  static bool has(const std::vector<io::UserEntry>& entries, Test test) {
    return std::any_of(entries.begin(), entries.end(), [&](const io::UserEntry& entry) {
      return entry.type == io::PathType::file && test(entry.name);
    });
  }

  void add(const std::string& path) {
    FoundBackup backup{.path = path};
    try {
      judge(backup, archive::look_at_backup(path));
    } catch (const Error& error) {
      backup = {.path = path, .state = State::unreadable, .problem = error.what()};
    }
    found.push_back(std::move(backup));
  }

  /// A tar file among others is a backup if it has a label.
  void add_tar(const std::string& path) {
    FoundBackup backup{.path = path};
    try {
      const auto files = archive::look_at_backup(path);
      if (!files || !archive::read_backup(*files)) return;
      judge(backup, files);
    } catch (const Error& error) {
      backup = {.path = path, .state = State::unreadable, .problem = error.what()};
    }
    found.push_back(std::move(backup));
  }

  /// As recovery::open_backup() takes it: a directory into which they were extracted is plain.
  static bool is_in_tar(const std::optional<archive::BackupFiles>& files) {
    return files && !files->tar.empty() &&
           io::type_of(files->path + "/PG_VERSION") != io::PathType::file;
  }

  void judge(FoundBackup& backup, const std::optional<archive::BackupFiles>& files) const {
    if (files) backup.point = archive::judge_backup(*files, depth_);
    backup.in_tar = is_in_tar(files);
    backup.vouched = files && backup.point && backup.point->end.has_value();
    const bool has_data = files && (!files->tar.empty() ||
                                    io::type_of(files->path + "/PG_VERSION") == io::PathType::file);
    // Files in the order in which pg_basebackup writes them: label, data, global/pg_control,
    // manifest (perform_base_backup in backup/basebackup.c).
    if (!backup.point)
      backup.problem = "its backup_label does not exist yet, or was removed";
    else if (files->manifest_unfinished)
      backup.problem = "its backup_manifest is incomplete";
    else if (backup.point->missing)
      backup.problem = *backup.point->missing;
    // An aborted copy, or one in progress: the manifest may arrive before base.tar.
    else if (!has_data)
      backup.problem = "its data files do not exist here";
    else
      return;
    backup.state = State::unfinished;
  }

  const archive::Depth depth_;
  std::set<std::string> seen_;  ///< real paths
};

}  // namespace

std::vector<FoundBackup> find_backups(const Places& places) { return Finder(places).found; }

std::string directory_beside(const std::string& backup) {
  auto real = io::real_path(backup);
  const auto above = real.substr(0, real.find_last_of('/'));
  // NAME/data of `pgweir backup`, with the tablespaces next to it.
  if (real == above + "/data" && io::type_of(above + "/tablespaces") == io::PathType::directory)
    real = above;
  return real.substr(0, real.find_last_of('/'));
}

}  // namespace weir::prune
