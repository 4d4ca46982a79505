#include "archive/backup_files.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "archive/backup_error.h"
#include "archive/backup_manifest.h"
#include "archive/backup_whole.h"
#include "archive/content.h"
#include "archive/tar_front.h"
#include "io/small_file.h"
#include "io/user_tree.h"
#include "wal/control_file.h"

namespace weir::archive {

namespace {

constexpr std::string_view kLabel = "backup_label";
constexpr std::string_view kManifest = "backup_manifest";

/// ".tar.gz" and so on, with what it is compressed by.
struct TarEnding {
  std::string_view ending;
  codec::Method method;
};
constexpr std::array kTarEndings = {
    TarEnding{".tar", codec::Method::none}, TarEnding{".tar.gz", codec::Method::gzip},
    TarEnding{".tgz", codec::Method::gzip}, TarEnding{".tar.lz4", codec::Method::lz4},
    TarEnding{".tar.zst", codec::Method::zstd}};

std::string_view name_of(std::string_view path) { return path.substr(path.find_last_of('/') + 1); }

bool is_file(const std::string& path) { return io::type_of(path) == io::PathType::file; }

/// 0 if it cannot be read.
std::uint64_t system_identifier_of(const std::string& control_file) {
  const auto front = io::read_front(control_file, wal::kControlFront);
  return wal::system_identifier_in(std::as_bytes(std::span(front))).value_or(0);
}

void read_tar(const std::string& path, TarFront& front) {
  const auto file = io::open_user_file(path);
  // It may be being written.
  ContentReader reader(*file, *tar_method(path), {.may_break_off = true});
  try {
    reader.read([&](std::span<const std::byte> piece) { return front.feed(piece); });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    throw Error(error)
        .with("file", path)
        .hint("The file may be damaged, or not a backup. For prune, --ignore-backup skips it.");
  }
}

BackupPoint read_manifest(const std::string& path) {
  const auto file = io::open_user_file(path);
  return read_backup_manifest(*file, path);
}

/// The manifest has the end, the label has the rest.
void add_label(BackupPoint& point, const BackupPoint& label, const std::string& path) {
  if (label.start != point.start || label.timeline != point.timeline)
    throw backup_contradiction(path,
                               "backup_manifest and backup_label have different start positions",
                               fmt::format("{} on timeline {}", point.start, point.timeline),
                               fmt::format("{} on timeline {}", label.start, label.timeline));
  point.from_standby = label.from_standby;
  point.checkpoint = label.checkpoint;
  point.places = label.places;
  // The label was sent after the backup had begun: a later time in it is in an unknown time zone.
  if (label.began && (!point.began || *label.began < *point.began)) point.began = label.began;
  point.parent = label.parent;
}

/// Reads a file of any name: its content determines its type.
BackupPoint read_one(const std::string& path) {
  constexpr std::uint64_t kFront = 4096;
  const auto front = io::read_front(path, kFront);
  const auto first = front.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && front[first] == '{') return read_manifest(path);
  return parse_backup_label(io::read_small_file(path, TarFront::kLargestLabel), path);
}

}  // namespace

std::optional<codec::Method> tar_method(std::string_view name) {
  for (const auto& [ending, method] : kTarEndings)
    if (name.ends_with(ending)) return method;
  return std::nullopt;
}

bool is_tar_name(std::string_view name) { return tar_method(name).has_value(); }

bool is_base_tar_name(std::string_view name) {
  return is_tar_name(name) && name.substr(0, name.find('.')) == "base";
}

std::optional<BackupFiles> look_at_backup(const std::string& path) {
  BackupFiles files{.path = path};
  const auto type = io::type_of(path);
  if (type == io::PathType::nothing) return std::nullopt;
  std::string directory = path;
  if (type != io::PathType::directory) {
    if (!is_tar_name(path)) {
      files.label = path;
      return files;
    }
    files.tar = path;
    if (!is_base_tar_name(name_of(path))) return files;
    const auto slash = path.find_last_of('/');
    directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  }
  const auto in_directory = [&](std::string_view name) {
    return directory + (directory.ends_with('/') ? "" : "/") + std::string(name);
  };
  if (const auto manifest = in_directory(kManifest); is_file(manifest)) files.manifest = manifest;
  files.manifest_unfinished = is_file(in_directory("backup_manifest.tmp"));
  if (!files.tar.empty()) return files;
  if (const auto label = in_directory(kLabel); is_file(label)) files.label = label;
  files.control = is_file(in_directory("global/pg_control"));
  for (const auto& [ending, method] : kTarEndings)
    if (const auto tar = in_directory("base" + std::string(ending)); is_file(tar)) {
      files.tar = tar;
      break;
    }
  const bool nothing =
      files.label.empty() && files.manifest.empty() && files.tar.empty() && !files.control;
  return nothing ? std::nullopt : std::optional(files);
}

std::optional<BackupPoint> read_backup(const BackupFiles& files) {
  std::optional<BackupPoint> point;
  std::optional<BackupPoint> label;
  if (!files.label.empty()) label = read_one(files.label);
  if (!files.manifest.empty()) point = read_manifest(files.manifest);
  if (!files.tar.empty() && !label) {
    TarFront front;
    read_tar(files.tar, front);
    // A tar file without its first entry is unusable, even if there is a manifest next to it.
    if (!front.label() && point && front.was_short())
      throw no_backup_file(files.tar, "the tar file has no backup_label: it is empty or truncated");
    if (front.label()) label = parse_backup_label(*front.label(), files.tar);
    if (front.manifest() && !point) point = parse_backup_manifest(*front.manifest(), files.tar);
  }
  if (!point)
    point = label;
  else if (label)
    add_label(*point, *label, files.path);
  if (!point) return std::nullopt;

  const auto control =
      files.control ? system_identifier_of(files.path + "/global/pg_control") : std::uint64_t{0};
  if (point->system_identifier == 0)
    point->system_identifier = control;
  else if (control != 0 && control != point->system_identifier)
    throw backup_contradiction(files.path,
                               "backup_manifest and global/pg_control belong to different clusters",
                               std::to_string(point->system_identifier), std::to_string(control));
  return point;
}

BackupPoint read_backup_point(const std::string& path) {
  auto files = look_at_backup(path);
  // With tablespaces `pgweir backup` puts the data directory into one of its own.
  if (const auto data = path + "/data"; !files && is_file(data + "/PG_VERSION"))
    files = look_at_backup(data);
  if (!files && io::type_of(path) == io::PathType::nothing)
    throw Error(ErrorKind::usage, "there is no such backup")
        .with("path", path)
        .hint(
            "Give a backup_label, a .backup file, a backup_manifest, a base.tar, or a backup's "
            "directory.");
  auto point = files ? judge_backup(*files) : std::nullopt;
  if (point) return std::move(*point);
  if (files && !files->tar.empty())
    throw no_backup_file(files->tar, "the tar file has no backup_label among its first entries");
  throw Error(ErrorKind::usage, "the directory has neither backup_manifest nor backup_label")
      .with("path", path)
      .hint(
          "Give the directory of a plain backup that no server was started in, that of a backup in "
          "tar format with its base.tar, or the backup_label itself.");
}

}  // namespace weir::archive
