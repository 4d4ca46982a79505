#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "archive/backup_files.h"

namespace weir::prune {

/// Sizes of base backups in bytes, for callers that ask repeatedly: a manifest is read once, and
/// again only if it has changed. Used by one thread at a time.
class BackupSizes {
 public:
  /// Plain format: the sum of the sizes in its manifest, without a stat() of each file. A backup
  /// in tar format: the tar files of its directory, or the file itself if it has another name.
  /// nullopt: a plain backup without a manifest. Throws Error{io}, and Error{damage} for a manifest
  /// whose list of files cannot be read.
  [[nodiscard]] std::optional<std::uint64_t> of(const archive::BackupFiles& files);

 private:
  struct Known {
    std::uint64_t length = 0;  ///< of the manifest
    std::string end{};         ///< its last bytes, which have its own checksum
    std::uint64_t bytes = 0;   ///< the sum
  };
  std::map<std::string, Known> known_;  ///< by the path of the manifest
};

}  // namespace weir::prune
