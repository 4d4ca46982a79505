#pragma once

#include <functional>
#include <string>

namespace weir::backup {

/// Reads the tar files of a backup in this directory once, to their end, and compares each file in
/// them with the backup's manifest: name, size and CRC-32C, as pg_basebackup makes them by default.
/// Nothing is unpacked. For programs whose pg_verifybackup reads no tar files (before 18). Throws
/// Error{damage} for what differs, Error{io}; Error{retry} if `stop` says true.
void check_tars(const std::string& directory, const std::function<bool()>& stop);

}  // namespace weir::backup
