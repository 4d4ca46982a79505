#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "io/directory.h"

namespace weir::io {

/// As open_directory(), for callers that expect an existing archive: the hint of the Error says
/// what is nearby, instead of suggesting to create the directory.
[[nodiscard]] std::unique_ptr<Directory> open_existing_directory(const std::string& path);
/// Describes the contents of the directory, or of the nearest existing one above it, as a sentence:
/// for a wrong path, or a file system that is not mounted.
[[nodiscard]] std::string what_is_nearby(const std::string& path);

/// Opens an existing directory. `file_mode` is the mode of files created in it (0600 or 0640, as in
/// the server's data_directory_mode). The handle stays on the same directory if it is moved. Throws
/// Error{io} with a hint if it is missing, not a directory, or not accessible.
[[nodiscard]] std::unique_ptr<Directory> open_directory(const std::string& path,
                                                        mode_t file_mode = 0600);

/// Throws Error{durability} if another directory, or none, is by now at the path that a directory
/// of the file system had when it was opened: it was moved or replaced.
void require_found(Directory& directory);

/// Announces that this number of bytes will be written: if the file system supports it, their
/// blocks are reserved at once, which saves a third of the time for writing; the file then has that
/// length at once. Does nothing if this is not supported, or for a file that is not the host's.
/// Throws Error{disk_full, io}.
void reserve_if_possible(File& file, std::uint64_t bytes);

/// A file that another process passed on, open for reading and writing; takes ownership of the
/// descriptor. The path is for messages.
[[nodiscard]] std::unique_ptr<File> adopt_file(int descriptor, std::string path);

}  // namespace weir::io
