#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "io/shelf.h"

namespace weir::io {

/// A feature of a file: writes that bypass the page cache.
class DirectWrites {
 public:
  virtual ~DirectWrites() = default;
  /// A hint: the following writes, of whole pages from page-aligned memory, are large and not read
  /// soon (O_DIRECT). No effect if the file system does not support it. The guarantees of sync()
  /// are unchanged.
  virtual void bypass_cache(bool bypass) = 0;
};

/// An open file. Owns the descriptor and so one open file description: its sync() reports its own
/// write-back errors, even if another File object of the same file has reported them. One thread at
/// a time. All calls retry EINTR and continue after short transfers. The destructor ignores errors:
/// call close() if they matter.
class File : public Bytes {
 public:
  /// Writes all of `bytes` at `offset`. Throws Error{disk_full, io}; then a front part of the
  /// bytes may have been written. With DirtyPages also Error{durability}, as sync().
  virtual void write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// Extends the file to `size` bytes with reserved blocks, reading as zeros after the old end;
  /// writes zeros if the file system cannot reserve. Never shortens. Throws Error{disk_full, io}.
  virtual void allocate(std::uint64_t size) = 0;
  /// fdatasync: after it has returned, every write that had returned before it started survives a
  /// power loss (as does the size). Throws Error{durability}: the bytes may be lost, and a second
  /// call proves nothing. This includes a file that no longer has a name (file_removed.h), or
  /// whose directory is no longer found under its path.
  virtual void sync() = 0;
  /// Calls close(2) and reports its error: Error{durability}. The object is closed either way.
  virtual void close() = 0;
  /// Truncates the file to `size`. Durable after sync(). Throws Error{io}; this default
  /// implementation always does, for files that are never truncated.
  virtual void truncate(std::uint64_t size);
  /// A number that no other file of the directory has while this one exists (its inode).
  [[nodiscard]] virtual std::uint64_t identity() = 0;
  /// Takes an exclusive flock on the file, held until it is closed. Returns false if another
  /// process, or another File object, holds it. Throws Error{io} if the file system does not
  /// support locks.
  [[nodiscard]] virtual bool try_lock();

  // Features that not every file has.

  /// For passing the file to another process; owned by this object. nullopt: it has none.
  [[nodiscard]] virtual std::optional<int> descriptor() const { return std::nullopt; }
  /// nullptr: not supported.
  [[nodiscard]] virtual DirectWrites* direct_writes() { return nullptr; }
};

/// A feature of a directory: its files have modes.
class FileModes {
 public:
  virtual ~FileModes() = default;
  /// Sets the mode bits of files created from now on, regardless of the umask: 0600, or 0640 if the
  /// server allows its group to read (data_directory_mode).
  virtual void set_file_mode(unsigned mode) = 0;
};

/// A feature of a directory: a bound for the page cache that its files keep dirty.
class DirtyPages {
 public:
  virtual ~DirtyPages() = default;
  /// For each file created or opened from now on, at most about twice `bytes` written to it wait in
  /// the page cache: a write beyond that starts writing them to the disk, and waits for those
  /// started before. A control group (version 1) that is full of dirty pages is out of memory.
  virtual void limit_dirty_pages(std::uint64_t bytes) = 0;
};

/// A feature: files that have no name yet.
class UnnamedFiles {
 public:
  virtual ~UnnamedFiles() = default;
  /// Creates a new, empty file on the directory's file system that vanishes with its last
  /// descriptor, even if the process crashes. Returns nullptr if the file system does not support
  /// this.
  [[nodiscard]] virtual std::unique_ptr<File> create_unnamed() = 0;
  /// Gives such a file a name. Returns false if the name is taken, or if that is not possible (the
  /// file is on another file system, /proc is not mounted).
  [[nodiscard]] virtual bool give_name(File& unnamed, const std::string& name) = 0;
};

/// An open directory and the files in it. All access to archive data that is written goes through
/// this interface: tests pass an implementation that forgets unsynced data, or fails at a chosen
/// call. Calls may come from several threads. Creating, renaming or removing a file is durable only
/// after sync(). Errors name the path. Throws Error{disk_full, io}, sync() Error{durability}.
class Directory : public Shelf {
 public:
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
  /// Removing a file that does not exist is not an error.
  virtual void remove(const std::string& name) = 0;

  /// fsync of the directory: names created, renamed or removed before it started survive a power
  /// loss. Throws Error{durability}.
  virtual void sync() = 0;

  [[nodiscard]] std::unique_ptr<Bytes> open_bytes(const std::string& name) final {
    return open_for_reading(name);
  }

  /// Features that not every one has: nullptr then.
  [[nodiscard]] virtual UnnamedFiles* unnamed_files() { return nullptr; }
  [[nodiscard]] virtual FileModes* file_modes() { return nullptr; }
  [[nodiscard]] virtual DirtyPages* dirty_pages() { return nullptr; }

  /// Takes an exclusive flock on the directory itself, held until this object is destroyed (or the
  /// process exits). Returns false if another process holds it.
  [[nodiscard]] virtual bool try_lock() = 0;
  /// Bytes an unprivileged writer can still use on this file system.
  [[nodiscard]] virtual std::uint64_t free_bytes() = 0;
};

/// As FileModes::set_file_mode(), if the directory's files have modes.
inline void set_file_mode(Directory& directory, unsigned mode) {
  if (auto* const modes = directory.file_modes()) modes->set_file_mode(mode);
}

/// For a process whose memory is limited to `memory` bytes: as DirtyPages::limit_dirty_pages(), if
/// the directory supports it.
inline void limit_dirty_pages(Directory& directory, std::uint64_t memory) {
  // A receiver writes to a few files at once: its segment, the next, those being compressed.
  constexpr std::uint64_t kShare = 32;
  if (auto* const pages = directory.dirty_pages()) pages->limit_dirty_pages(memory / kShare);
}

}  // namespace weir::io
