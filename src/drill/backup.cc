#include "drill/backup.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include "archive/backup_files.h"
#include "archive/content.h"
#include "archive/tar_reader.h"
#include "base/error.h"
#include "base/text.h"
#include "drill/sandbox.h"
#include "io/small_file.h"
#include "io/stream_file.h"
#include "io/tree.h"
#include "io/user_tree.h"

namespace weir::drill {

namespace {

using io::PathType;

/// How a server runs, whom it lets in, and that it is to recover: a drill has its own.
constexpr std::array<std::string_view, 10> kSettings = {
    "postgresql.conf", "postgresql.auto.conf", "pg_hba.conf",    "pg_ident.conf",
    "recovery.conf",   "recovery.signal",      "standby.signal", "postmaster.pid",
    "postmaster.opts", "tablespace_map"};
/// Directories whose content a server makes anew (excludeDirContents in backup/basebackup.c), and
/// pg_wal: what is tried is the archive. A slot of the backup's server would keep WAL, or stop the
/// start.
constexpr std::array<std::string_view, 8> kEmptied = {"pg_wal",      "pg_replslot", "pg_dynshmem",
                                                      "pg_notify",   "pg_serial",   "pg_snapshots",
                                                      "pg_stat_tmp", "pg_subtrans"};

template <typename Names>
bool has(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The first part of "pg_wal/0000…".
std::string_view top_of(std::string_view name) { return name.substr(0, name.find('/')); }

bool is_left_out(std::string_view name) {
  return has(kSettings, name) || name == "backup_manifest" ||
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
  if (depth > kDeepest) throw no_backup(path, "the backup has a link that leads back into itself");
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
  if (!major) throw Error(ErrorKind::damage, "PG_VERSION says no version").with("file", file);
  return *major;
}

std::uint64_t unpacked_size(const std::string& tar) {
  // What pg_basebackup compresses shrinks to a third or a quarter; a guess that is too small is
  // seen while the drill goes on.
  constexpr std::uint64_t kGuess = 4;
  const auto size = io::size_of_file(tar);
  return archive::tar_method(tar) == codec::Method::none ? size : kGuess * size;
}

void find_tars(Backup& backup, const std::string& base) {
  backup.tars.push_back({base, ""});
  const auto slash = base.find_last_of('/');
  const auto directory = slash == std::string::npos ? "." : base.substr(0, slash);
  // A tar file of another name stands alone.
  if (!archive::is_base_tar_name(base.substr(slash + 1))) return;
  for (const auto& entry : io::list_user_directory(directory)) {
    if (entry.type != PathType::file || !archive::is_tar_name(entry.name)) continue;
    const auto oid = entry.name.substr(0, entry.name.find('.'));
    if (is_oid(oid)) backup.tars.push_back({directory + "/" + entry.name, oid});
  }
}

Error no_tablespace(const std::string& backup, const std::string& oid) {
  return Error(ErrorKind::damage, "the backup lacks a tablespace")
      .with("path", backup)
      .with("oid", oid)
      .hint("What was in it cannot be recovered with this backup: take another one.");
}

/// Throws where one of those that the backup's tablespace_map names did not come with it.
void require_tablespaces(const Backup& backup, std::string_view map) {
  while (!map.empty()) {
    const auto line = map.substr(0, map.find('\n'));
    const std::string oid(line.substr(0, line.find(' ')));
    if (is_oid(oid) && std::none_of(backup.tars.begin(), backup.tars.end(),
                                    [&](const Backup::Tar& tar) { return tar.oid == oid; }))
      throw no_tablespace(backup.path, oid);
    map.remove_prefix(std::min(line.size() + 1, map.size()));
  }
}

/// A plain backup, file by file.
class Copy {
 public:
  Copy(const Sandbox& sandbox, const std::function<bool()>& stop)
      : sandbox_(sandbox), copier_(stop) {}

  void run(const std::string& backup) {
    copy_directory(backup, sandbox_.data(), "");
    for (const auto name : kEmptied)
      io::make_directories(sandbox_.data() + "/" + std::string(name));
  }
  [[nodiscard]] Brought brought() const {
    return {.bytes = copier_.bytes(), .shared_bytes = copier_.shared_bytes()};
  }

 private:
  void copy_directory(const std::string& from, const std::string& to, const std::string& name) {
    io::make_directories(to);
    if (has(kEmptied, name)) return;
    if (name == "pg_tblspc")
      for (const auto& oid : io::dead_links(from)) throw no_tablespace(from, oid);
    for (const auto& entry : io::list_user_directory(from)) {
      const auto inner = name.empty() ? entry.name : name + "/" + entry.name;
      if (is_left_out(inner)) continue;
      const auto source = from + "/" + entry.name;
      auto target = to + "/" + entry.name;
      if (name == "pg_tblspc" && entry.type == PathType::directory && is_oid(entry.name) &&
          io::read_link(source)) {
        // The server of the sandbox finds its copy there, and nothing of the original.
        io::make_directories(sandbox_.path() + "/tablespaces");
        io::make_symlink(sandbox_.tablespace(entry.name), target);
        target = sandbox_.tablespace(entry.name);
      }
      // What a link leads to is copied: a link of the backup leads out of the sandbox.
      if (entry.type == PathType::directory) copy_directory(source, target, inner);
      if (entry.type == PathType::file) copier_.copy(source, target);
    }
  }

  const Sandbox& sandbox_;
  io::FileCopier copier_;
};

/// One tar file into a directory.
class Unpack final : public archive::TarReader::Visitor {
 public:
  Unpack(const std::string& directory, bool base, std::string tar,
         const std::function<bool()>& stop)
      : directory_(directory), base_(base), tar_(std::move(tar)), stop_(stop) {
    io::make_directories(directory_);
  }

  void run() {
    const auto file = io::open_user_file(tar_);
    archive::TarReader reader(*this);
    archive::read_content(
        *file, *archive::tar_method(tar_), tar_, [&](std::span<const std::byte> piece) {
          if (stop_()) throw Error(ErrorKind::retry, "stopped while the backup was unpacked");
          return reader.feed(piece);
        });
    file_.reset();
    if (!reader.ended())
      throw Error(ErrorKind::damage, "the tar file of the backup is cut off").with("file", tar_);
  }

  bool on_entry(const archive::TarReader::Entry& entry) override {
    file_.reset();
    const auto name = name_of(entry.name);
    if (name.empty()) return true;
    const auto path = directory_ + "/" + name;
    reads_map_ = base_ && name == "tablespace_map";
    settings_file_ = nullptr;
    if (base_ && entry.type == archive::TarReader::Type::file && is_settings_file(name))
      settings_file_ = &settings_[name];
    if (base_ && is_left_out(name)) return true;
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
        // Tablespaces come in tar files of their own; a pg_wal elsewhere is a directory here.
        if (base_ && name == "pg_wal") io::make_directories(path);
        if (base_ && (name == "pg_wal" || top_of(name) == "pg_tblspc")) return true;
        [[fallthrough]];
      case archive::TarReader::Type::other:
        break;
    }
    throw Error(ErrorKind::damage, "the tar file has an entry that no backup has")
        .with("file", tar_)
        .with("entry", entry.name);
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
  /// The content of tablespace_map: lines of an oid and where it was.
  [[nodiscard]] const std::string& map() const { return map_; }
  [[nodiscard]] const SettingsFiles& settings() const { return settings_; }

 private:
  /// Without "./" at its begin; nothing may lead out of the directory.
  [[nodiscard]] std::string name_of(std::string name) const {
    while (name.starts_with("./")) name.erase(0, 2);
    while (name.ends_with('/')) name.pop_back();
    if (name == ".") name.clear();
    bool inside = !name.starts_with('/');
    for (std::size_t at = 0; at <= name.size();
         at = name.find('/', at) == std::string::npos ? name.size() + 1 : name.find('/', at) + 1)
      inside = inside && name.substr(at, name.find('/', at) - at) != "..";
    if (!inside)
      throw Error(ErrorKind::damage, "the tar file has an entry that leads out of it")
          .with("file", tar_)
          .with("entry", name);
    return name;
  }

  const std::string directory_;
  const bool base_;
  const std::string tar_;
  const std::function<bool()>& stop_;
  std::optional<io::StreamFile> file_;  ///< that is being written
  bool reads_map_ = false;
  std::string map_;
  SettingsFiles settings_;
  std::string* settings_file_ = nullptr;  ///< that is being read
  std::uint64_t bytes_ = 0;
};

/// A backup that lies as NAME/data, with its tablespaces beside it, is named by NAME, too.
std::string data_in(const std::string& path) {
  const auto data = path + "/data";
  if (io::type_of(data + "/PG_VERSION") != PathType::file ||
      io::type_of(path + "/PG_VERSION") == PathType::file || archive::look_at_backup(path))
    return path;
  return data;
}

}  // namespace

std::vector<std::string> changed_files() {
  std::vector<std::string> names(kSettings.begin(), kSettings.end());
  return names;
}

Backup open_backup(const std::string& named) {
  const auto path = data_in(named);
  auto files = archive::look_at_backup(path);
  if (!files && io::type_of(path) == PathType::nothing)
    throw no_backup(path, "there is no such backup");
  const bool directory = io::type_of(path) == PathType::directory;
  if (!files || (!directory && files->tar.empty()))
    throw no_backup(path, "this is no base backup that a server can be started on");
  Backup backup{.path = path, .point = {}, .manifest = files->manifest};
  const bool plain = directory && io::type_of(path + "/PG_VERSION") == PathType::file;
  if (!plain && files->tar.empty())
    throw no_backup(path, "this is no base backup that a server can be started on");
  if (plain) files->tar.clear();
  if (plain && files->label.empty())
    throw no_backup(path, "the directory has no backup_label: a server was started in it, or is");
  if (files->manifest_unfinished)
    throw Error(ErrorKind::usage, "the backup is being made, or its making broke off")
        .with("path", path);
  const auto point = archive::read_backup(*files);
  if (!point) throw no_backup(path, "the tar file has no backup_label among its first entries");
  if (point->parent)
    throw Error(ErrorKind::usage, "the backup is an incremental one")
        .with("path", path)
        .hint("Make a full one of it, and of those it builds upon, with pg_combinebackup.");
  backup.point = *point;
  if (plain) {
    backup.major = read_major(path + "/PG_VERSION");
    backup.bytes = size_of_tree(path, 0);
  } else {
    find_tars(backup, files->tar);
    for (const auto& tar : backup.tars) backup.bytes += unpacked_size(tar.path);
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
      // It is no backup, or none that could be used: nothing is said of it.
    }
  }
  return newest;
}

Brought bring(const Backup& backup, const Sandbox& sandbox, const std::function<bool()>& stop) {
  if (backup.tars.empty()) {
    Copy copy(sandbox, stop);
    copy.run(backup.path);
    auto brought = copy.brought();
    brought.settings = read_settings_files(backup.path);
    return brought;
  }
  Brought brought;
  for (const auto& tar : backup.tars) {
    const bool base = tar.oid.empty();
    const auto directory = base ? sandbox.data() : sandbox.tablespace(tar.oid);
    Unpack unpack(directory, base, tar.path, stop);
    unpack.run();
    brought.bytes += unpack.bytes();
    if (base) require_tablespaces(backup, unpack.map());
    if (base) brought.settings = unpack.settings();
    if (base) continue;
    io::make_directories(sandbox.data() + "/pg_tblspc");
    io::make_symlink(directory, sandbox.data() + "/pg_tblspc/" + tar.oid);
  }
  for (const auto name : kEmptied) io::make_directories(sandbox.data() + "/" + std::string(name));
  return brought;
}

}  // namespace weir::drill
