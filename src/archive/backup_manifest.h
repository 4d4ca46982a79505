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

}  // namespace weir::archive
