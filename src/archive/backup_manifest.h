#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "archive/backup_point.h"
#include "io/shelf.h"

namespace weir::archive {

/// Reads a backup_manifest (its "WAL-Ranges"). Throws Error{damage}, Error{conflict}.
[[nodiscard]] BackupPoint parse_backup_manifest(std::string_view content, const std::string& file);

/// The same for a file of any size, with little memory: a manifest has a line for each file of the
/// cluster. If it is written as by a server, only its start and its end are read
/// (AddWALInfoToBackupManifest in backup/backup_manifest.c puts the required parts there); a
/// different order is read completely. Throws Error{io}, too.
[[nodiscard]] BackupPoint read_backup_manifest(io::Bytes& manifest, const std::string& file);

/// Visits each entry of "Files", in order: its path below the data directory and its size, until
/// `visit` returns false. With little memory, as above. Throws Error{io, damage}.
void for_each_file(io::Bytes& manifest, const std::string& file,
                   const std::function<bool(std::string_view path, std::uint64_t size)>& visit);

/// An entry of "Files" with its checksum.
struct ManifestFile {
  std::string path{};
  std::uint64_t size = 0;
  std::string algorithm{};  ///< "CRC32C", "SHA256", …; empty: it has no checksum
  std::string checksum{};   ///< hexadecimal digits
};
/// The same as for_each_file(), with all of each entry.
void for_each_entry(io::Bytes& manifest, const std::string& file,
                    const std::function<bool(ManifestFile entry)>& visit);

/// The SHA-256 that the manifest has of itself (its last line, "Manifest-Checksum") is that of the
/// text before it. Throws Error{damage} if it is not, Error{io}.
void require_manifest_checksum(io::Bytes& manifest, const std::string& file);

}  // namespace weir::archive
