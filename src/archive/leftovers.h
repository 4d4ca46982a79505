#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "io/directory.h"

namespace weir::archive {

// Temporary files of commands that work beside a receiver, and beside each other: each has a name
// that nobody else uses, and a lock that tells that somebody is at work on it. The kernel takes the
// lock back when the process is gone.

struct LockedFile {
  std::string name;
  std::unique_ptr<io::File> file;
  std::unique_ptr<io::File> lock;  ///< nullptr where the file system knows no locks
};
/// A new one, for what will be called `target`.
[[nodiscard]] LockedFile create_locked(io::Directory& directory, std::string_view target);

/// Removes what interrupted runs left behind: files of this kind that nobody holds a lock on. Where
/// the file system knows no locks, those that nobody has written to since `written_before` (one at
/// work writes all the time). Throws Error{io}.
void remove_leftovers(io::Directory& directory,
                      std::chrono::system_clock::time_point written_before);
/// Somebody is at work on it. False where the file system knows no locks.
[[nodiscard]] bool is_locked(io::File& file);
/// True for the names of such files.
[[nodiscard]] bool is_leftover(std::string_view name);

}  // namespace weir::archive
