#include "prune/backup_size.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include "archive/backup_manifest.h"
#include "io/user_tree.h"

namespace weir::prune {

namespace {

/// The last line of a manifest is its checksum: 64 digits (SendBackupManifest() in
/// backup/backup_manifest.c).
constexpr std::uint64_t kLastBytes = 256;

std::uint64_t size_of_tars(const archive::BackupFiles& files) {
  if (files.path == files.tar) return io::file_size(files.tar).value_or(0);
  std::uint64_t bytes = 0;
  for (const auto& entry : io::list_user_directory(files.path))
    if (entry.type == io::PathType::file && archive::is_tar_name(entry.name))
      bytes += io::file_size(files.path + (files.path.ends_with('/') ? "" : "/") + entry.name)
                   .value_or(0);
  return bytes;
}

}  // namespace

std::optional<std::uint64_t> BackupSizes::of(const archive::BackupFiles& files) {
  if (!files.tar.empty()) return size_of_tars(files);
  if (files.manifest.empty()) return std::nullopt;
  const auto manifest = io::open_user_file(files.manifest);
  Known now{.length = manifest->size()};
  now.end.resize(std::min(now.length, kLastBytes));
  now.end.resize(
      manifest->read_at(now.length - now.end.size(), std::as_writable_bytes(std::span(now.end))));
  const auto known = known_.find(files.manifest);
  if (known != known_.end() && known->second.length == now.length && known->second.end == now.end)
    return known->second.bytes;
  archive::for_each_file(*manifest, files.manifest,
                         [&](std::string_view /*path*/, std::uint64_t size) {
                           now.bytes += size;
                           return true;
                         });
  return known_.insert_or_assign(files.manifest, std::move(now)).first->second.bytes;
}

}  // namespace weir::prune
