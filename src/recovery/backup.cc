#include "recovery/backup.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string_view>

#include "archive/backup_files.h"
#include "archive/backup_manifest.h"
#include "archive/content.h"
#include "archive/tar_reader.h"
#include "base/error.h"
#include "base/text.h"
#include "io/small_file.h"
#include "io/stream_file.h"
#include "io/tree.h"
#include "io/user_tree.h"

namespace weir::recovery {

namespace {

using io::PathType;

/// Reads the map that a server sends after backup_label (perform_base_backup in
/// backup/basebackup.c), and nothing after it.
class MapWatch final : public archive::TarReader::Visitor {
 public:
  bool on_entry(const archive::TarReader::Entry& entry) override {
    is_map_ = entry.name.ends_with("tablespace_map");
    return is_map_ || entry.name.ends_with("backup_label");
  }
  void on_content(std::span<const std::byte> bytes) override {
    if (is_map_) map.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string map;

 private:
  bool is_map_ = false;
};

std::string tablespace_map_of(const std::string& tar) {
  const auto file = io::open_user_file(tar);
  MapWatch watch;
  archive::TarReader reader(watch);
  archive::read_content(*file, *archive::tar_method(tar), tar,
                        [&](std::span<const std::byte> piece) { return reader.feed(piece); });
  return watch.map;
}

/// Configuration and access rules of a server: a drill has its own.
constexpr std::array<std::string_view, 4> kSettings = {"postgresql.conf", "postgresql.auto.conf",
                                                       "pg_hba.conf", "pg_ident.conf"};
/// Files that show that it is running or to be recovered. With a tablespace_map the server would
/// recreate its links to the original locations (read_tablespace_map() in
/// access/transam/xlogrecovery.c). The last two are from an earlier `pgweir recover` on that
/// server.
constexpr std::array<std::string_view, 8> kState = {
    "recovery.conf",   "recovery.signal", "standby.signal",      "postmaster.pid",
    "postmaster.opts", "tablespace_map",  "pgweir-recover.json", "pgweir-recover.log"};
constexpr std::string_view kControl = "global/pg_control";
/// As with `initdb -g`; a copy that all users may read shows nothing about its server.
constexpr unsigned kOfOthers = 077, kGroupReads = 040;
/// Directories whose content a server recreates (excludeDirContents in backup/basebackup.c), and
/// pg_wal: the archive is what is tested. A slot of the backup's server would retain WAL, or
/// prevent the start.
constexpr std::array<std::string_view, 8> kEmptied = {"pg_wal",      "pg_replslot", "pg_dynshmem",
                                                      "pg_notify",   "pg_serial",   "pg_snapshots",
                                                      "pg_stat_tmp", "pg_subtrans"};

template <typename Names>
bool has(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The first part of "pg_wal/0000…".
std::string_view top_of(std::string_view name) { return name.substr(0, name.find('/')); }

bool is_left_out(std::string_view name, bool settings) {
  return (!settings && has(kSettings, name)) || has(kState, name) || name == "backup_manifest" ||
         (has(kEmptied, top_of(name)) && top_of(name) != name);
}

bool is_oid(std::string_view name) { return parse_number<std::uint32_t>(name).has_value(); }

Error no_backup(const std::string& path, std::string what) {
  return Error(ErrorKind::usage, std::move(what))
      .with("path", path)
      .hint(
          "Give the directory of a base backup in plain format, or of pg_basebackup's tar files, "
          "or "
          "its base.tar.");
}

std::uint64_t size_of_tree(const std::string& path, int depth) {
  constexpr int kDeepest = 16;  // of a cluster it is 5, and a loop of links is deeper
  if (depth > kDeepest)
    throw no_backup(path, "the backup has a symbolic link that points back into the backup");
  std::uint64_t bytes = 0;
  for (const auto& entry : io::list_user_directory(path)) {
    const auto below = path + "/" + entry.name;
    if (entry.type == PathType::directory) bytes += size_of_tree(below, depth + 1);
    if (entry.type == PathType::file) bytes += io::size_of_file(below);
  }
  return bytes;
}

int read_major(const std::string& file) {
  constexpr std::uint64_t kLongest = 64;
  const auto text = io::read_small_file(file, kLongest);
  const auto major = parse_number<int>(trimmed(text));
  if (!major) throw Error(ErrorKind::damage, "invalid PG_VERSION").with("file", file);
  return *major;
}

std::uint64_t unpacked_size(const std::string& tar) {
  // Data compressed by pg_basebackup shrinks to a third or a quarter; an estimate that is too small
  // is noticed during the drill.
  constexpr std::uint64_t kGuess = 4;
  const auto size = io::size_of_file(tar);
  return archive::tar_method(tar) == codec::Method::none ? size : kGuess * size;
}

void find_tars(Backup& backup, const std::string& base) {
  backup.tars.push_back({base, "", unpacked_size(base)});
  const auto slash = base.find_last_of('/');
  const auto directory = slash == std::string::npos ? "." : base.substr(0, slash);
  // A tar file with another name is a separate one.
  if (!archive::is_base_tar_name(base.substr(slash + 1))) return;
  for (const auto& entry : io::list_user_directory(directory)) {
    if (entry.type != PathType::file || !archive::is_tar_name(entry.name)) continue;
    const auto oid = entry.name.substr(0, entry.name.find('.'));
    if (!is_oid(oid)) continue;
    const auto tar = directory + "/" + entry.name;
    backup.tars.push_back({tar, oid, unpacked_size(tar)});
  }
}

/// By the manifest: a compressed file does not show how large its content is.
void read_sizes(Backup& backup) {
  const auto compressed = [](const Backup::Tar& tar) {
    return archive::tar_method(tar.path) != codec::Method::none;
  };
  if (backup.manifest.empty() || std::none_of(backup.tars.begin(), backup.tars.end(), compressed))
    return;
  std::map<std::string, std::uint64_t> sizes;  // by OID
  const auto manifest = io::open_user_file(backup.manifest);
  archive::for_each_file(*manifest, backup.manifest,
                         [&](std::string_view path, std::uint64_t size) {
                           constexpr std::string_view kTablespaces = "pg_tblspc/";
                           std::string oid;
                           if (path.starts_with(kTablespaces))
                             oid = top_of(path.substr(kTablespaces.size()));
                           sizes[oid] += size;
                           return true;
                         });
  for (auto& tar : backup.tars)
    if (compressed(tar)) tar.bytes = sizes[tar.oid];
}

Error no_tablespace(const std::string& backup, const std::string& oid) {
  return Error(ErrorKind::damage, "the backup lacks a tablespace")
      .with("path", backup)
      .with("oid", oid)
      .hint("Its content cannot be recovered with this backup: use another one.");
}

/// Parses tablespace_map: lines of an OID and the location, with a backslash before a backslash and
/// before a newline in its name.
std::vector<Tablespace> parse_map(std::string_view map) {
  std::vector<Tablespace> found;
  while (!map.empty()) {
    std::string line;
    for (; !map.empty() && map.front() != '\n'; map.remove_prefix(1)) {
      if (map.front() == '\\' && map.size() > 1) map.remove_prefix(1);
      line += map.front();
    }
    if (!map.empty()) map.remove_prefix(1);
    const auto space = line.find(' ');
    const auto oid = line.substr(0, space);
    if (is_oid(oid))
      found.push_back({oid, space == std::string::npos ? "" : line.substr(space + 1)});
  }
  return found;
}

/// Those of tablespace_map. Throws if one of them is missing in the backup.
std::vector<Tablespace> read_map(const Backup& backup, std::string_view map) {
  auto found = parse_map(map);
  for (auto& each : found) {
    const auto tar = std::find_if(backup.tars.begin(), backup.tars.end(),
                                  [&](const Backup::Tar& one) { return one.oid == each.oid; });
    if (tar == backup.tars.end()) throw no_tablespace(backup.path, each.oid);
    each.bytes = tar->bytes;
  }
  return found;
}

/// The tablespace_map in a plain backup; empty: there is none.
std::vector<Tablespace> map_of_directory(const std::string& backup) {
  constexpr std::uint64_t kLargest = std::uint64_t{16} << 20;
  const auto file = backup + "/tablespace_map";
  if (io::type_of(file) != PathType::file) return {};
  return parse_map(io::read_small_file(file, kLargest));
}

/// A directory with a tablespace_map is not pg_basebackup's: it was copied manually, or unpacked
/// from a tar file. A server that starts in it creates the links from this file, to the original
/// locations; a recovery needs links to the files of the backup.
void require_links(const std::string& backup) {
  const auto map = map_of_directory(backup);
  if (map.empty()) return;
  const auto directory = backup + "/pg_tblspc";
  std::vector<std::string> links;
  if (io::type_of(directory) == PathType::directory) {
    links = io::dead_links(directory);  // reported as a missing tablespace
    for (const auto& entry : io::list_user_directory(directory))
      if (io::read_link(directory + "/" + entry.name)) links.push_back(entry.name);
  }
  for (const auto& each : map)
    if (!has(links, each.oid))
      throw Error(ErrorKind::conflict,
                  "tablespace_map names a tablespace, but pg_tblspc has no link to its files")
          .with("path", backup)
          .with("oid", each.oid)
          .with("original location", each.location)
          .hint(
              "If its files were saved elsewhere (as OID.tar, or in another directory), create a "
              "symbolic link of that name to the directory with them in the backup's pg_tblspc. "
              "Otherwise, use another backup.");
}

/// A plain backup, file by file.
class Copy {
 public:
  Copy(const Layout& layout, const std::function<bool()>& stop)
      : layout_(layout), copier_([this, &stop] {
          if (layout_.progress) layout_.progress(copier_.bytes());
          return stop();
        }) {}

  void run(const std::string& backup) { copy_directory(backup, layout_.data, ""); }
  [[nodiscard]] Brought brought() const {
    return {.bytes = copier_.bytes(),
            .shared_bytes = copier_.shared_bytes(),
            .emptied_links = emptied_links_};
  }

 private:
  void copy_directory(const std::string& from, const std::string& to, const std::string& name) {
    io::make_directories(to);
    const bool is_link = is_emptied_link(name) && io::read_link(from);
    if (is_link) emptied_links_.push_back(name);
    if (has(kEmptied, name) || is_link) return;
    if (name == "pg_tblspc")
      for (const auto& oid : io::dead_links(from)) throw no_tablespace(from, oid);
    for (const auto& entry : io::list_user_directory(from)) {
      const auto inner = name.empty() ? entry.name : name + "/" + entry.name;
      if (is_left_out(inner, layout_.settings)) continue;
      const auto source = from + "/" + entry.name;
      auto target =
          inner == kControl ? layout_.data + "/" + layout_.control : to + "/" + entry.name;
      if (name == "pg_tblspc" && entry.type == PathType::directory && is_oid(entry.name) &&
          io::read_link(source)) {
        // The server finds the copy there, and nothing of the original.
        const auto place = layout_.tablespace(entry.name);
        io::make_symlink(place, target);
        target = place;
      }
      // The targets of links are copied: a link of the backup points elsewhere.
      if (entry.type == PathType::directory) copy_directory(source, target, inner);
      if (entry.type == PathType::file) copier_.copy(source, target);
    }
  }

  const Layout& layout_;
  io::FileCopier copier_;
  std::vector<std::string> emptied_links_;
};

/// Extracts one tar file into a directory.
class Unpack final : public archive::TarReader::Visitor {
 public:
  Unpack(const Layout& layout, const std::string& directory, bool base, std::string tar,
         std::uint64_t before, const std::function<bool()>& stop)
      : layout_(layout),
        directory_(directory),
        base_(base),
        tar_(std::move(tar)),
        before_(before),
        stop_(stop) {
    io::make_directories(directory_);
  }

  void run() {
    const auto file = io::open_user_file(tar_);
    archive::TarReader reader(*this);
    archive::read_content(
        *file, *archive::tar_method(tar_), tar_, [&](std::span<const std::byte> piece) {
          if (stop_()) throw Error(ErrorKind::retry, "stopped while the backup was being unpacked");
          if (layout_.progress) layout_.progress(before_ + bytes_);
          return reader.feed(piece);
        });
    file_.reset();
    if (!reader.ended())
      throw Error(ErrorKind::damage, "the tar file of the backup is truncated").with("file", tar_);
  }

  bool on_entry(const archive::TarReader::Entry& entry) override {
    file_.reset();
    const auto name = name_of(entry.name);
    if (name.empty()) return true;
    const auto path = directory_ + "/" + (base_ && name == kControl ? layout_.control : name);
    reads_map_ = base_ && name == "tablespace_map";
    settings_file_ = nullptr;
    if (base_ && name == "PG_VERSION") group_access_ = (entry.mode & kOfOthers) == kGroupReads;
    if (base_ && entry.type == archive::TarReader::Type::file && is_settings_file(name))
      settings_file_ = &settings_[name];
    if (base_ && is_left_out(name, layout_.settings)) return true;
    const auto slash = path.find_last_of('/');
    switch (entry.type) {
      case archive::TarReader::Type::directory:
        io::make_directories(path);
        return true;
      case archive::TarReader::Type::file:
        io::make_directories(path.substr(0, slash));
        file_.emplace(path);
        return true;
      case archive::TarReader::Type::symbolic_link:
        // Tablespaces have tar files of their own; a pg_wal elsewhere becomes a directory here.
        if (base_ && is_emptied_link(name)) io::make_directories(path);
        if (base_ && (is_emptied_link(name) || top_of(name) == "pg_tblspc")) return true;
        [[fallthrough]];
      case archive::TarReader::Type::other:
        break;
    }
    throw Error(ErrorKind::damage, "unexpected entry in the tar file of the backup")
        .with("file", tar_)
        .with("entry", entry.name)
        .hint(
            "If it is a sparse file, as tar -S and bsdtar store it, extract the tar file with that "
            "program, and specify the directory.");
  }

  void on_content(std::span<const std::byte> bytes) override {
    if (reads_map_) map_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    constexpr std::size_t kMostSettings = std::size_t{4} << 20;
    if (settings_file_ != nullptr && settings_file_->size() < kMostSettings)
      settings_file_->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!file_) return;
    file_->write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    bytes_ += bytes.size();
  }

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] bool group_access() const { return group_access_; }
  /// The content of tablespace_map: lines of an OID and its location.
  [[nodiscard]] const std::string& map() const { return map_; }
  [[nodiscard]] const SettingsFiles& settings() const { return settings_; }

 private:
  /// Without "./" at its start; no name may refer to a place outside of the directory.
  [[nodiscard]] std::string name_of(std::string name) const {
    while (name.starts_with("./")) name.erase(0, 2);
    while (name.ends_with('/')) name.pop_back();
    if (name == ".") name.clear();
    bool inside = !name.starts_with('/');
    for (std::size_t at = 0; at <= name.size();
         at = name.find('/', at) == std::string::npos ? name.size() + 1 : name.find('/', at) + 1)
      inside = inside && name.substr(at, name.find('/', at) - at) != "..";
    if (!inside)
      throw Error(ErrorKind::damage, "a path in the tar file points outside the backup")
          .with("file", tar_)
          .with("entry", name);
    return name;
  }

  const Layout& layout_;
  const std::string directory_;
  const bool base_;
  const std::string tar_;
  const std::uint64_t before_;  ///< bytes of the tar files unpacked earlier
  const std::function<bool()>& stop_;
  std::optional<io::StreamFile> file_;  ///< that is being written
  bool reads_map_ = false;
  std::string map_;
  SettingsFiles settings_;
  std::string* settings_file_ = nullptr;  ///< that is being read
  std::uint64_t bytes_ = 0;
  bool group_access_ = false;
};

/// A backup stored as NAME/data, with its tablespaces next to it, can also be named as NAME.
std::string data_in(const std::string& path) {
  auto data = path + "/data";
  if (io::type_of(data + "/PG_VERSION") != PathType::file ||
      io::type_of(path + "/PG_VERSION") == PathType::file || archive::look_at_backup(path))
    return path;
  return data;
}

}  // namespace

std::vector<std::string> changed_files() {
  std::vector<std::string> names(kSettings.begin(), kSettings.end());
  names.insert(names.end(), kState.begin(), kState.end());
  return names;
}

Backup open_backup(const std::string& named, bool incremental) {
  const auto path = data_in(named);
  auto files = archive::look_at_backup(path);
  if (!files && io::type_of(path) == PathType::nothing)
    throw no_backup(path, "there is no such backup");
  const bool directory = io::type_of(path) == PathType::directory;
  if (!files || (!directory && files->tar.empty()))
    throw no_backup(path, "not a base backup that a server can be started on");
  Backup backup{.path = path, .point = {}, .manifest = files->manifest};
  const bool plain = directory && io::type_of(path + "/PG_VERSION") == PathType::file;
  if (!plain && files->tar.empty())
    throw no_backup(path, "not a base backup that a server can be started on");
  if (plain) files->tar.clear();
  if (plain && files->label.empty())
    throw no_backup(path, "the directory has no backup_label: a server was started in it");
  if (files->manifest_unfinished)
    throw Error(ErrorKind::usage, "the backup is in progress, or was aborted").with("path", path);
  const auto point = archive::read_backup(*files);
  if (!point) throw no_backup(path, "the tar file has no backup_label among its first entries");
  if (point->parent && !incremental)
    throw Error(ErrorKind::usage, "the backup is incremental")
        .with("path", path)
        .hint(
            "Combine it with the backups that it builds upon into a full backup, using "
            "pg_combinebackup.");
  backup.point = *point;
  if (plain) {
    require_links(path);
    backup.major = read_major(path + "/PG_VERSION");
    backup.bytes = size_of_tree(path, 0);
  } else {
    find_tars(backup, files->tar);
    read_sizes(backup);
    for (const auto& tar : backup.tars) backup.bytes += tar.bytes;
  }
  return backup;
}

std::optional<std::string> older_backup(const Backup& backup, wal::Lsn before) {
  auto own = backup.tars.empty() ? backup.path : backup.tars.front().path;
  while (own.ends_with('/')) own.pop_back();
  const auto up = [](const std::string& path) {
    const auto slash = path.find_last_of('/');
    return slash == std::string::npos ? std::string("..") : path.substr(0, slash);
  };
  own = io::real_path(own);
  auto place = up(own);
  if (own.ends_with("/data") || !backup.tars.empty()) {
    own = place;  // of one that is named by its directory
    place = up(place);
  }
  std::optional<std::string> newest;
  wal::Lsn at;
  for (const auto& entry : io::list_user_directory(place)) {
    const auto path = place + "/" + entry.name;
    if (entry.type != PathType::directory || path == own) continue;
    try {
      const auto other = open_backup(path);
      const auto& point = other.point;
      const bool same = point.system_identifier == 0 || backup.point.system_identifier == 0 ||
                        point.system_identifier == backup.point.system_identifier;
      const auto end = point.end.value_or(point.start);
      if (!same || point.timeline > backup.point.timeline || end > before || end <= at) continue;
      at = end;
      newest = path;
    } catch (const Error&) {
      // It is not a backup, or not a usable one: it is skipped silently.
    }
  }
  return newest;
}

bool is_emptied_link(std::string_view name) {
  return name == "pg_wal" || name == "log" || name == "pg_log";
}

void clean(const std::string& data) {
  for (const auto name : kState)
    if (!name.starts_with("pgweir")) io::remove_tree(data + "/" + std::string(name));
  io::remove_tree(data + "/backup_manifest");
  for (const auto name : kEmptied) {
    const auto directory = data + "/" + std::string(name);
    // pg_wal may be a link: what it leads to is another's.
    io::remove_tree(directory);
    io::make_directories(directory);
  }
}

std::vector<Tablespace> tablespaces_of(const Backup& backup) {
  if (!backup.tars.empty()) {
    auto found = read_map(backup, tablespace_map_of(backup.tars[0].path));
    // In a tar file packed by another program the map may come later.
    for (const auto& tar : backup.tars)
      if (!tar.oid.empty() && std::none_of(found.begin(), found.end(), [&](const Tablespace& each) {
            return each.oid == tar.oid;
          }))
        found.push_back({tar.oid, "", tar.bytes});
    return found;
  }
  const auto directory = backup.path + "/pg_tblspc";
  if (io::type_of(directory) != PathType::directory) return {};
  for (const auto& oid : io::dead_links(directory)) throw no_tablespace(backup.path, oid);
  std::vector<Tablespace> found;
  for (const auto& entry : io::list_user_directory(directory)) {
    const auto path = directory + "/" + entry.name;
    const auto location = io::read_link(path);
    if (location && is_oid(entry.name))
      found.push_back({entry.name, *location, size_of_tree(path, 0)});
  }
  for (const auto& original : map_of_directory(backup.path))
    for (auto& each : found)
      if (each.oid == original.oid && each.location == original.location) each.is_original = true;
  return found;
}

Brought bring(const Backup& backup, const Layout& layout, const std::function<bool()>& stop) {
  const auto make_emptied = [&] {
    for (const auto name : kEmptied) io::make_directories(layout.data + "/" + std::string(name));
  };
  if (backup.tars.empty()) {
    Copy copy(layout, stop);
    copy.run(backup.path);
    make_emptied();
    auto brought = copy.brought();
    brought.settings = read_settings_files(backup.path);
    const auto access = io::look_at_access(backup.path + "/PG_VERSION");
    brought.group_access = access && (access->mode & kOfOthers) == kGroupReads;
    return brought;
  }
  Brought brought;
  for (const auto& tar : backup.tars) {
    const bool base = tar.oid.empty();
    const auto directory = base ? layout.data : layout.tablespace(tar.oid);
    Unpack unpack(layout, directory, base, tar.path, brought.bytes, stop);
    unpack.run();
    brought.bytes += unpack.bytes();
    if (base) static_cast<void>(read_map(backup, unpack.map()));
    if (base) brought.settings = unpack.settings();
    if (base) brought.group_access = unpack.group_access();
    if (base) continue;
    io::make_directories(layout.data + "/pg_tblspc");
    io::make_symlink(directory, layout.data + "/pg_tblspc/" + tar.oid);
  }
  make_emptied();
  return brought;
}

}  // namespace weir::recovery
