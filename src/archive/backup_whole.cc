#include "archive/backup_whole.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "archive/backup_error.h"
#include "archive/backup_manifest.h"
#include "archive/content.h"
#include "archive/tar_reader.h"
#include "base/error.h"
#include "io/user_tree.h"
#include "wal/control_file.h"

namespace weir::archive {

namespace {

constexpr std::string_view kMap = "tablespace_map";
constexpr std::string_view kControl = "global/pg_control";
constexpr std::string_view kGlobalMap = "global/pg_filenode.map";
/// A line for each tablespace.
constexpr std::uint64_t kLargestMap = std::uint64_t{1} << 20;

/// Skipped by pg_verifybackup: they may change after the backup was taken.
bool may_differ(std::string_view name) {
  constexpr std::array<std::string_view, 3> kNames = {"postgresql.auto.conf", "recovery.signal",
                                                      "standby.signal"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

/// Collects the required entries of a tar file.
class TarWatch final : public TarReader::Visitor {
 public:
  bool on_entry(const TarReader::Entry& entry) override {
    std::string_view name = entry.name;
    if (name.starts_with("./")) name.remove_prefix(2);
    into_ = nullptr;
    if (entry.type != TarReader::Type::file) return true;
    if (name == kMap && entry.size <= kLargestMap) into_ = &map;
    if (name == kControl && entry.size <= kLargestMap) into_ = &control;
    // A server sends the label first, then the map (perform_base_backup in backup/basebackup.c).
    past_map = past_map || (name != "backup_label" && name != kMap);
    return true;
  }
  void on_content(std::span<const std::byte> bytes) override {
    if (into_ != nullptr) into_->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  [[nodiscard]] bool wants_content() const { return into_ != nullptr; }

  std::string map;
  std::string control;
  bool past_map = false;

 private:
  std::string* into_ = nullptr;
};

/// Walks from header to header, without reading the content between. Returns true if the file has
/// its end.
bool walk_raw(const std::string& path, TarWatch& watch) {
  constexpr std::size_t kBlock = 512;
  const auto file = io::open_user_file(path);
  TarReader reader(watch);
  std::vector<std::byte> block(kBlock);
  std::uint64_t at = 0;
  while (file->read_at(at, block) == kBlock) {
    at += kBlock;
    const bool more = reader.feed(block);
    // Two blocks of zeros (POSIX, ustar).
    if (reader.ended())
      return file->read_at(at, block) == kBlock &&
             std::all_of(block.begin(), block.end(),
                         [](std::byte byte) { return byte == std::byte{}; });
    if (!more) return false;
    if (!watch.wants_content()) at += reader.skip_content();
  }
  return false;
}

/// Returns true if the file has its end, or (`front_only`) no more is needed.
bool read_packed(const std::string& path, codec::Method method, bool front_only, TarWatch& watch) {
  const auto file = io::open_user_file(path);
  TarReader reader(watch);
  ContentReader content(*file, method, {.whole = !front_only, .may_break_off = front_only});
  bool enough = false;
  content.read([&](std::span<const std::byte> piece) {
    if (!reader.ended()) static_cast<void>(reader.feed(piece));
    enough = front_only && watch.past_map;
    return !enough;
  });
  return enough || reader.ended();
}

/// nullopt: it is complete, as far as it was checked.
std::optional<std::string> look_at_tar(const std::string& path, bool has_manifest, Depth depth,
                                       TarWatch& watch) {
  const auto method = tar_method(path).value_or(codec::Method::none);
  if (method != codec::Method::none && !has_manifest && depth == Depth::names)
    return fmt::format(
        "its file {} is compressed and has no backup_manifest next to it: whether it is complete "
        "was not checked",
        path);
  try {
    const bool whole = method == codec::Method::none
                           ? walk_raw(path, watch)
                           : read_packed(path, method, has_manifest, watch);
    if (whole) return std::nullopt;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    return fmt::format("its file {} is damaged or truncated: {}", path, error.message());
  }
  return fmt::format("its file {} is incomplete or truncated", path);
}

class Look {
 public:
  Look(const BackupFiles& files, Depth depth) : files_(files), depth_(depth) {}

  BackupContent run() {
    if (!files_.tar.empty()) {
      // pg_basebackup writes the manifest last: without it, they may still be being written.
      if (depth_ == Depth::whole || files_.manifest.empty()) look_at_tars();
    } else if (is_plain()) {
      look_at_plain();
    }
    return std::move(content_);
  }

 private:
  [[nodiscard]] std::string in_directory(std::string_view name) const {
    auto directory = files_.path;
    if (directory == files_.tar) {
      const auto slash = directory.find_last_of('/');
      directory = slash == std::string::npos ? "." : directory.substr(0, slash);
    }
    return directory + (directory.ends_with('/') ? "" : "/") + std::string(name);
  }

  /// A directory that contains only the label or the manifest has its data elsewhere.
  [[nodiscard]] bool is_plain() const {
    for (const auto* const name : {"PG_VERSION", "base", "global"})
      if (io::type_of(in_directory(name)) != io::PathType::nothing) return true;
    return false;
  }

  void look_at_plain() {
    read_control();
    if (!files_.manifest.empty() && depth_ == Depth::whole) {
      const auto manifest = io::open_user_file(files_.manifest);
      for_each_file(*manifest, files_.manifest, [&](std::string_view name, std::uint64_t size) {
        if (may_differ(name)) return true;
        const auto found = io::file_size(in_directory(name));
        if (!found)
          content_.missing =
              fmt::format("its file {} is missing, although its manifest lists it", name);
        else if (*found != size)
          content_.missing = fmt::format(
              "its file {} has {} bytes, but {} according to its manifest", name, *found, size);
        return !content_.missing;
      });
    } else if (!files_.control && files_.manifest.empty()) {
      content_.missing = "it has neither backup_manifest nor global/pg_control yet";
    } else if (files_.manifest.empty()) {
      look_at_parts();
    }
    if (content_.missing) return;
    const auto tablespaces = in_directory("pg_tblspc");
    if (io::type_of(tablespaces) != io::PathType::directory) return;
    const auto dead = io::links_that_lead_nowhere(tablespaces);
    if (!dead.empty())
      content_.missing = fmt::format(
          "its tablespace {} is missing: the target of the link pg_tblspc/{} does not exist",
          dead.front(), dead.front());
  }

  /// Without a manifest, an aborted copy may have pg_control, and lack other files without which no
  /// server starts. (That a table's file is missing is not detected.)
  void look_at_parts() {
    const auto require = [&](bool is_there, std::string_view name) {
      if (!is_there && !content_.missing)
        content_.missing =
            fmt::format("it has no backup_manifest, and lacks {}, which every server has", name);
    };
    for (const auto* const name :
         {"base", "pg_logical", "pg_multixact", "pg_tblspc", "pg_twophase", "pg_xact"})
      require(io::type_of(in_directory(name)) == io::PathType::directory, name);
    if (content_.missing) return;
    require(io::file_size(in_directory(kGlobalMap)).has_value(), kGlobalMap);
    require(!io::list_user_directory(in_directory("pg_xact")).empty(), "the files of pg_xact");
    // Any may be incomplete, since it was being created or dropped: not all of them.
    const auto databases = io::list_user_directory(in_directory("base"));
    require(std::any_of(databases.begin(), databases.end(),
                        [&](const io::UserEntry& each) {
                          const auto map = "base/" + each.name + "/pg_filenode.map";
                          return io::file_size(in_directory(map)).has_value();
                        }),
            "the files of each database");
  }

  void read_control() {
    if (!files_.control) return;
    const auto file = io::open_user_file(in_directory(kControl));
    std::vector<std::byte> front(wal::kControlFront);
    front.resize(file->read_at(0, front));
    content_.min_recovery = wal::min_recovery_point_in(front);
  }

  void look_at_tars() {
    const bool has_manifest = !files_.manifest.empty();
    TarWatch base;
    content_.missing = look_at_tar(files_.tar, has_manifest, depth_, base);
    const auto control = std::as_bytes(std::span(base.control));
    content_.min_recovery = wal::min_recovery_point_in(control);
    content_.system_identifier = wal::system_identifier_in(control).value_or(0);
    // "OID PATH", a line each (do_pg_backup_start() in access/transam/xlog.c).
    for (std::string_view map = base.map; !map.empty() && !content_.missing;) {
      const auto line = map.substr(0, map.find('\n'));
      map.remove_prefix(std::min(map.size(), line.size() + 1));
      const auto oid = line.substr(0, line.find(' '));
      if (oid.empty() || oid.find_first_not_of("0123456789") != std::string_view::npos) continue;
      look_at_tablespace(oid, has_manifest);
    }
  }

  void look_at_tablespace(std::string_view oid, bool has_manifest) {
    for (const auto* const ending : {".tar", ".tar.gz", ".tgz", ".tar.lz4", ".tar.zst"}) {
      const auto path = in_directory(std::string(oid) + ending);
      if (!io::file_size(path)) continue;
      TarWatch watch;
      content_.missing = look_at_tar(path, has_manifest, depth_, watch);
      return;
    }
    content_.missing = fmt::format(
        "the tar file of its tablespace {} is missing, although its tablespace_map lists it", oid);
  }

  const BackupFiles& files_;
  const Depth depth_;
  BackupContent content_;
};

}  // namespace

BackupContent look_through(const BackupFiles& files, Depth depth) {
  return Look(files, depth).run();
}

std::optional<BackupPoint> judge_backup(const BackupFiles& files, Depth depth) {
  auto point = read_backup(files);
  if (!point) return point;
  auto content = look_through(files, depth);
  point->missing = std::move(content.missing);
  if (point->missing) return point;
  if (point->from_standby && !point->end) point->end = content.min_recovery;
  if (point->system_identifier == 0)
    point->system_identifier = content.system_identifier;
  else if (content.system_identifier != 0 && content.system_identifier != point->system_identifier)
    throw backup_contradiction(
        files.tar, "backup_manifest and global/pg_control belong to different clusters",
        std::to_string(point->system_identifier), std::to_string(content.system_identifier));
  return point;
}

}  // namespace weir::archive
