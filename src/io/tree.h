#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.h"

namespace weir::io {

// Directories that a command creates: the sandbox of a drill, the data directory of a recovery.
// Nothing is durable until sync_file_system(). Throws Error{io, disk_full} that names the path.

/// Creates a directory, for this user alone (0700), whose path starts with `prefix` and ends in six
/// unique characters.
[[nodiscard]] std::string make_private_directory(const std::string& prefix);
/// Creates a directory, and its missing parents, with mode 0700. An existing one is not an error.
void make_directories(const std::string& path);
void make_symlink(const std::string& target, const std::string& path);
/// Removes the path itself and everything below it; links are removed and not followed. A missing
/// path is not an error.
void remove_tree(const std::string& path);

/// Returns every entry of the directory, including broken links.
[[nodiscard]] std::vector<std::string> all_names(const std::string& path);
/// It has none.
[[nodiscard]] bool is_empty_directory(const std::string& path);
/// This process may make and remove names in the directory.
[[nodiscard]] bool may_write_into(const std::string& directory);
/// Equal for paths on the same file system.
[[nodiscard]] std::uint64_t file_system_of(const std::string& path);
/// Sets the modes of the directory and all subdirectories, and those of the files. Links are not
/// followed.
void set_modes(const std::string& directory, unsigned of_directories, unsigned of_files);
/// Moves every entry of a directory into another one of the same file system.
void move_entries(const std::string& from, const std::string& to);
/// Flushes everything that was written so far to the path's file system. Throws Error{durability}.
void sync_file_system(const std::string& path);
/// Makes the directory, and every file and directory below it, durable, one by one (fsync); no link
/// is followed. Throws Error{durability, io}.
void sync_tree(const std::string& directory);
/// Bytes of the files below a directory; no link is followed. What vanishes meanwhile is left out.
[[nodiscard]] std::uint64_t size_of_tree(const std::string& directory);
/// Within one file system.
void rename_file(const std::string& from, const std::string& to);

/// A user of this machine.
struct User {
  std::string name;
  unsigned id = 0;
  unsigned group = 0;
};
/// nullopt: there is none of that name.
[[nodiscard]] std::optional<User> find_user(const std::string& name);
[[nodiscard]] User this_user();
void give_directory(const std::string& path, const User& user);
/// In a process run by root: subsequent operations run as that user, with its groups, until
/// become_root_again(). Programs started meanwhile see two users, which a server rejects.
void become_for_now(const User& user);
void become_root_again();
/// The same, permanently.
void become(const User& user);

/// Names in `path` of directories (no links) that belong to this user, are accessible to this user
/// alone, and whose names start with `prefix`.
[[nodiscard]] std::vector<std::string> own_directories(const std::string& path,
                                                       std::string_view prefix);
/// Bytes that this process could still write there.
[[nodiscard]] std::uint64_t free_bytes(const std::string& path);
/// The target of the link; nullopt if this is not a link.
[[nodiscard]] std::optional<std::string> read_link(const std::string& path);
/// Names of broken links in the directory.
[[nodiscard]] std::vector<std::string> dead_links(const std::string& path);
[[nodiscard]] std::uint64_t size_of_file(const std::string& path);
/// A regular file that this process may run.
[[nodiscard]] bool is_program(const std::string& path);
/// A descriptor of the directory, to be named by /proc.
[[nodiscard]] Descriptor directory_descriptor(const std::string& path);
/// A new file that is appended to, for the output of a child.
[[nodiscard]] Descriptor open_log(const std::string& path);

/// Whether a copy of the file, created as `probe` and removed again, can share its blocks
/// (FICLONE).
[[nodiscard]] bool can_share_blocks(const std::string& file, const std::string& probe);

/// A file with an exclusive flock on it. A process that inherits the descriptor holds the lock,
/// too.
class LockFile {
 public:
  /// Makes the file with this content, and locks it.
  LockFile(const std::string& path, std::string_view content);
  /// Locks a directory. Returns nullopt if another process has locked it.
  [[nodiscard]] static std::optional<LockFile> of_directory(const std::string& path);
  /// Opens an existing file. Returns nullopt if there is none, or another process has locked it.
  [[nodiscard]] static std::optional<LockFile> take_over(const std::string& path);
  [[nodiscard]] int descriptor() const { return file_.get(); }

 private:
  explicit LockFile(Descriptor file) : file_(std::move(file)) {}
  Descriptor file_;
};

/// Copies files, each with mode 0600, sharing their blocks with the original if the file system
/// supports it (FICLONE), otherwise by plain copies.
class FileCopier {
 public:
  /// `stop` is queried now and then; if it returns true, Error{retry} is thrown.
  explicit FileCopier(std::function<bool()> stop) : stop_(std::move(stop)) {}
  /// `to` must not exist.
  void copy(const std::string& from, const std::string& to);
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  /// The part of these bytes that takes no space of its own.
  [[nodiscard]] std::uint64_t shared_bytes() const { return shared_bytes_; }

 private:
  std::function<bool()> stop_;
  std::uint64_t bytes_ = 0;
  std::uint64_t shared_bytes_ = 0;
};

}  // namespace weir::io
