#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace weir::archive {

/// The file is not what a backup has there.
[[nodiscard]] Error no_backup_file(const std::string& file, std::string what);

/// Two places of one file, or of two files, that contradict each other: the files were edited or
/// mixed up, and which of them is correct is unknown.
[[nodiscard]] Error backup_contradiction(const std::string& file, std::string_view what,
                                         const std::string& left, const std::string& right);

}  // namespace weir::archive
