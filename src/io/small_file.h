#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::io {

// Files that a user names and that are not part of an archive: a backup's label, a list of options.

enum class PathType { nothing, file, directory, other };

/// The type of the path, following links. Throws Error{io} if it cannot be determined.
[[nodiscard]] PathType type_of(const std::string& path);

struct FileAccess {
  bool readable = false;  ///< by this process
  unsigned mode = 0;      ///< permission bits
  bool own = false;       ///< of the user of this process
  bool of_root = false;

  /// No other user may read or change it, as a server requires for its key (be-secure-common.c):
  /// owned by this user (0600), or by root, and a group may read it (0640), as in a container's
  /// volume of secrets.
  [[nodiscard]] bool is_secret() const {
    constexpr unsigned kOthers = 077;
    constexpr unsigned kGroupWritesOrOthers = 037;
    return (mode & (own || !of_root ? kOthers : kGroupWritesOrOthers)) == 0;
  }
};
/// nullopt: there is no regular file, or it cannot be read.
[[nodiscard]] std::optional<FileAccess> look_at_access(const std::string& path);

/// Differs from the previous value if the file was replaced or changed, following links; "" without
/// a file.
[[nodiscard]] std::string state_of_file(const std::string& path);

/// Reads everything up to the end, also from a pipe. Throws Error{io} that names the path, also if
/// there is more than `most` bytes.
[[nodiscard]] std::string read_small_file(const std::string& path, std::uint64_t most);

/// The first `most` bytes, or what there is of them. Throws as above.
[[nodiscard]] std::string read_front(const std::string& path, std::uint64_t most);

/// Writes the file under a hidden name in the same directory and renames it: a reader sees the old
/// content or the new one. Not durable unless requested by `how`. Throws Error{io, disk_full}, and
/// Error{durability} if a sync fails.
enum class Replace {
  soon,     ///< after a power loss, the file may be empty
  durably,  ///< also after a power loss, it has the old content or the new one
};
void replace_small_file(const std::string& path, std::string_view content, unsigned mode,
                        Replace how = Replace::soon);
/// It is what an interrupted replace_small_file() of a file called `file` leaves next to it.
[[nodiscard]] bool is_leftover_of(std::string_view name, std::string_view file);

}  // namespace weir::io
