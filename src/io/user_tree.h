#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/shelf.h"
#include "io/small_file.h"

namespace weir::io {

// Directories that a user names and that are not archives: locations of base backups.

/// Links are followed: the type is that of what they lead to.
struct UserEntry {
  std::string name;
  PathType type = PathType::nothing;
};

/// Returns every entry except for "." and "..", by name; broken links are omitted. Only for links
/// the entries themselves are read. Throws Error{io} if the directory cannot be read.
[[nodiscard]] std::vector<UserEntry> list_user_directory(const std::string& path);

/// Opens a file for reading. Throws Error{io}.
[[nodiscard]] std::unique_ptr<Bytes> open_user_file(const std::string& path);

/// The size of a file, links followed; nullopt: there is no file. Throws Error{io}.
[[nodiscard]] std::optional<std::uint64_t> file_size(const std::string& path);

/// Names of a directory's broken links. Throws Error{io} if it cannot be read.
[[nodiscard]] std::vector<std::string> links_that_lead_nowhere(const std::string& path);

/// The path without links, "." and "..": two paths of one file have the same result. A path that
/// does not exist is returned unchanged.
[[nodiscard]] std::string real_path(const std::string& path);

}  // namespace weir::io
