#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "io/directory.h"

namespace weir::archive {

// Temporary files of commands that run alongside a receiver, and alongside each other. Each has a
// unique name and a lock that shows that a process is working on it. The kernel releases the lock
// when the process exits.

struct LockedFile {
  std::string name;
  std::unique_ptr<io::File> file;
  std::unique_ptr<io::File> lock;  ///< nullptr if the file system does not support locks
};
/// A new one, for what will be called `target`.
[[nodiscard]] LockedFile create_locked(io::Directory& directory, std::string_view target);

/// A running process writes to such a file continuously. An older one belongs to no process, where
/// the file system does not support locks.
constexpr std::chrono::minutes kAbandoned(30);
/// Removes files of this kind that interrupted runs left and no process has locked. If the file
/// system does not support locks, removes those that were not written since `written_before` (a
/// running process writes continuously). Throws Error{io}.
void remove_leftovers(io::Directory& directory,
                      std::chrono::system_clock::time_point written_before);
/// True if a process has locked it. False if the file system does not support locks.
[[nodiscard]] bool is_locked(io::File& file);
/// True for the names of such files.
[[nodiscard]] bool is_leftover(std::string_view name);

}  // namespace weir::archive
