#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weir::io {

/// An open file. Owns the descriptor and so one open file description: its sync() sees write-back
/// errors of its own, whatever other File objects of the same file were told. One thread at a time.
/// All calls retry EINTR and go on after short transfers themselves.
class File {
 public:
  virtual ~File() = default;  ///< releases without a word; call close() where its error matters
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Writes all of `bytes` at `offset`. Throws Error{disk_full, io}; then a front part of the
  /// bytes may have been written.
  virtual void write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// Reads up to bytes.size() bytes; fewer only at the end of the file. Returns the count.
  [[nodiscard]] virtual std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) = 0;
  /// Makes the file `size` bytes long with blocks reserved, reading as zeros behind the old end;
  /// writes zeros where the file system cannot reserve. Never shortens. Throws Error{disk_full,
  /// io}.
  virtual void allocate(std::uint64_t size) = 0;
  /// fdatasync: after it returned, every write that had returned before it began survives a power
  /// loss (so does the size). Throws Error{durability}: the bytes may be lost and a second call
  /// proves nothing. So does a file that has no name any more, since somebody removed it, or one
  /// whose directory is no longer found under its path.
  virtual void sync() = 0;
  /// close(2) with its error: Error{durability}. The object is closed either way.
  virtual void close() = 0;
  [[nodiscard]] virtual std::uint64_t size() = 0;
  /// A hint: the writes that follow, in whole pages from memory aligned to pages, are large and
  /// nobody reads them soon, so they need not go through the page cache (O_DIRECT). Without effect
  /// where the file system can't. What is promised about sync() stays.
  virtual void bypass_cache(bool) {}
  /// Cuts off what is behind `size`. Durable after sync(). Throws Error{io}, here always: for files
  /// that are never cut.
  virtual void truncate(std::uint64_t size);
  /// A number that no other file of the directory has while this one exists (its inode), 0 if there
  /// is none such.
  [[nodiscard]] virtual std::uint64_t identity() { return 0; }
  /// Takes an exclusive flock on the file, held until it is closed. False if another process, or
  /// another File object, holds it. True where files know no locks.
  [[nodiscard]] virtual bool try_lock() { return true; }
  /// To hand the file to another process; owned by this object. -1 where there is no such thing.
  [[nodiscard]] virtual int descriptor() const { return -1; }
};

/// Which file it is and in which state: as long as it is the same, so are the bytes, as far as the
/// kernel can tell.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

struct DirectoryEntry {
  enum class Type { file, directory, other };
  std::string name;
  Type type = Type::file;
  std::uint64_t size = 0;       ///< bytes (st_size), files only
  std::uint64_t allocated = 0;  ///< bytes on disk (st_blocks * 512), files only
  std::chrono::system_clock::time_point modified;
};

/// What the directory itself tells of a file.
struct DirectoryName {
  std::string name;
  DirectoryEntry::Type type = DirectoryEntry::Type::file;
};

/// An open directory and the files in it, by plain names (a name with a slash is a broken
/// invariant). This is the only door to archive data: tests hand in one that forgets what was not
/// synced, or fails at a chosen call. Calls may come from several threads.
/// What is durable: a file created, renamed or removed is so only after sync().
/// Errors name the path. Throws Error{disk_full, io}, sync() Error{durability}.
class Directory {
 public:
  virtual ~Directory() = default;
  Directory() = default;
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  /// For messages.
  [[nodiscard]] virtual const std::string& path() const = 0;

  /// A new, empty file, open for reading and writing. Throws Error{conflict} if the name exists.
  [[nodiscard]] virtual std::unique_ptr<File> create(const std::string& name) = 0;
  /// An existing file, open for reading and writing; nullptr if there is none.
  [[nodiscard]] virtual std::unique_ptr<File> open(const std::string& name) = 0;
  /// An existing file, open for reading; nullptr if there is none.
  [[nodiscard]] virtual std::unique_ptr<File> open_for_reading(const std::string& name) = 0;

  /// Throws Error{conflict} if `to` exists, and then changes nothing.
  virtual void rename_no_replace(const std::string& from, const std::string& to) = 0;
  /// Replaces `to` atomically.
  virtual void rename_replace(const std::string& from, const std::string& to) = 0;
  /// Removing what is not there is no error.
  virtual void remove(const std::string& name) = 0;

  /// fsync of the directory: names created, renamed or removed before it began survive a power
  /// loss. Throws Error{durability}.
  virtual void sync() = 0;

  /// Every entry but "." and "..", in no particular order. Entries that vanish meanwhile are left
  /// out.
  [[nodiscard]] virtual std::vector<DirectoryEntry> list() = 0;
  /// As list(), but the files themselves are not looked at: a third of the time with 100,000, and
  /// less than that on a network's file system.
  [[nodiscard]] virtual std::vector<DirectoryName> names() {
    std::vector<DirectoryName> names;
    for (auto& entry : list()) names.push_back({std::move(entry.name), entry.type});
    return names;
  }
  [[nodiscard]] virtual std::optional<DirectoryEntry> find(const std::string& name) = 0;

  /// False if that name leads to no file any more, or to another one. True where that can't be
  /// told. Sees nothing of the file but which one it is.
  [[nodiscard]] virtual bool leads_to(const std::string& name, const File& file) {
    static_cast<void>(name);
    static_cast<void>(file);
    return true;
  }

  /// nullopt if there is no such file, or a directory that has no such thing.
  [[nodiscard]] virtual std::optional<FileIdentity> identity_of(const std::string& name) {
    static_cast<void>(name);
    return std::nullopt;
  }
  /// Of the directory itself; device and inode only.
  [[nodiscard]] virtual std::optional<FileIdentity> identity() { return std::nullopt; }
  /// A new, empty file on this file system that has no name: it is gone with its last descriptor,
  /// whatever becomes of the process. nullptr if the file system cannot.
  [[nodiscard]] virtual std::unique_ptr<File> create_unnamed() { return nullptr; }
  /// Gives such a file its name. False if the name is taken, or if that cannot be done here (the
  /// file is on another file system, /proc is not mounted).
  [[nodiscard]] virtual bool give_name(File& unnamed, const std::string& name) {
    static_cast<void>(unnamed);
    static_cast<void>(name);
    return false;
  }

  /// Takes an exclusive flock on the directory itself, held until this object is gone (and by the
  /// kernel no longer than the process lives). False if another process holds it.
  [[nodiscard]] virtual bool try_lock() = 0;
  /// Mode bits of files created from now on, whatever the umask says: 0600, or 0640 where the
  /// server allows its group to read (data_directory_mode). A directory without modes ignores it.
  virtual void set_file_mode(unsigned mode) { static_cast<void>(mode); }
  /// Bytes an unprivileged writer can still use on this file system.
  [[nodiscard]] virtual std::uint64_t free_bytes() = 0;
};

}  // namespace weir::io
