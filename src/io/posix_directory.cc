#include "io/posix_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>  // renameat2
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <typeinfo>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"
#include "io/entry_reader.h"
#include "io/file_removed.h"
#include "io/owner.h"

namespace weir::io {

namespace {

/// Repeats a call that a signal interrupted.
template <typename Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

/// The error for a refused call, with what the operator can do about the usual reasons.
Error io_error(int code, std::string what, const std::string& path) {
  Error error = system_error(code, std::move(what)).with("path", path);
  switch (code) {
    case ENOSPC:
      error.hint("Free space on the file system of this path, or enlarge it.");
      break;
    case EDQUOT:
      error.hint(
          "The disk quota of the user that runs pgweir is exhausted. Raise it, or free "
          "space.");
      break;
    case EACCES:
    case EPERM:
      error.hint(
          "The user that runs pgweir lacks permission. Check owner and mode of the directory and "
          "its files.");
      break;
    case EROFS:
      error.hint(
          "The file system is read-only. If it was writable before, the kernel probably "
          "remounted it after a disk error: check the kernel log first.");
      break;
    case EIO:
      error.hint("The disk or the network file system failed. Check the kernel log.");
      break;
    case EMFILE:
    case ENFILE:
      error.hint("Too many files are open: raise the limit (ulimit -n).");
      break;
    case EFBIG:
      error.hint(
          "The file would be larger than this process or the file system allows. Raise the limit "
          "(ulimit -f, LimitFSIZE= of a service); it must allow a segment.");
      break;
    case ESTALE:
      error.hint("The file on the network file system is gone: check the mount.");
      break;
    default:
      break;
  }
  return error;
}

Error durability_error(int code, std::string what, const std::string& path) {
  return Error(ErrorKind::durability,
               std::move(what) + ": " + std::generic_category().message(code))
      .with("path", path)
      .hint(
          "The kernel may have dropped the written data and would report the next sync as "
          "successful, so nothing more can be confirmed and the process must end. Check the disk "
          "and the kernel log, then restart: streaming resumes at the last safe position.");
}

/// Relative to the process's current directory; empty if that was removed.
std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  std::array<char, 4096> here{};
  if (::getcwd(here.data(), here.size()) == nullptr) return {};
  return std::string(here.data()) + "/" + path;
}

/// Identifies the file, and nothing else: since Linux 6.13 reading a file's times makes the next
/// write change them, and the next fsync write the inode as well, which costs a third of the
/// commits. nullopt, with errno, if it cannot be determined.
struct Inode {
  std::uint64_t device = 0;
  std::uint64_t number = 0;
  std::uint64_t names = 0;
  bool operator==(const Inode& other) const {
    return device == other.device && number == other.number;
  }
};
std::optional<Inode> inode_of(int directory, const char* name, int flags) {
  struct statx status {};
  if (::statx(directory, name, flags | AT_STATX_DONT_SYNC, STATX_INO | STATX_NLINK, &status) != 0)
    return std::nullopt;
  return Inode{.device = std::uint64_t{status.stx_dev_major} << 32 | status.stx_dev_minor,
               .number = status.stx_ino,
               .names = status.stx_nlink};
}

/// The path of a directory when it was opened.
class Place {
 public:
  Place(int directory, const std::string& path)
      : path_(path), absolute_(absolute(path)), inode_(inode_of(directory, "", AT_EMPTY_PATH)) {}

  /// Durable data in a directory that cannot be found is lost, too: the directory was renamed, or
  /// another file system is mounted over it. If this cannot be determined, it is ignored.
  void require_found() const {
    if (absolute_.empty() || !inode_) return;
    const auto found = inode_of(AT_FDCWD, absolute_.c_str(), 0);
    if (!found && errno != ENOENT && errno != ENOTDIR && errno != ELOOP) return;
    if (found == inode_) return;
    throw Error(ErrorKind::durability, "the archive directory was moved or replaced")
        .with("path", path_)
        .hint(
            "It was removed or renamed while in use, or another file system was mounted over it. "
            "The newest WAL is in the directory that had this path before. Restore that "
            "directory, or move its files to the new one, and restart.");
  }

  /// Path of a name in this directory; empty if it cannot be determined.
  [[nodiscard]] std::string whole(const std::string& name) const {
    return absolute_.empty() ? std::string() : absolute_ + "/" + name;
  }

 private:
  const std::string path_;
  const std::string absolute_;  ///< empty if it cannot be determined
  const std::optional<Inode> inode_;
};

class PosixFile final : public File, private DirectWrites {
 public:
  /// `dirty_limit`: as DirtyPages::limit_dirty_pages(); 0: none.
  PosixFile(Descriptor fd, std::string path, std::shared_ptr<const Place> place,
            std::uint64_t dirty_limit, bool named = true)
      : fd_(fd.release()),
        path_(std::move(path)),
        place_(std::move(place)),
        named_(named),
        dirty_limit_(dirty_limit) {}
  ~PosixFile() override {
    if (fd_ >= 0) ::close(fd_);
  }

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    PGWEIR_CHECK(fd_ >= 0);
    while (!bytes.empty()) {
      const ssize_t written = retry_interrupted(
          [&] { return ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
      if (written < 0 && errno == EINVAL && bypassing_) {
        // Some file systems accept the flag and then reject the writes.
        bypass_cache(false);
        continue;
      }
      if (written < 0) throw io_error(errno, "could not write", path_).with("offset", offset);
      if (written == 0)  // no error and no progress: no system does it, and it must not loop
        throw io_error(EIO, "could not write", path_).with("offset", offset);
      offset += static_cast<std::uint64_t>(written);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      if (dirty_limit_ > 0 && !bypassing_) bound_dirty(static_cast<std::uint64_t>(written));
    }
  }

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    PGWEIR_CHECK(fd_ >= 0);
    std::size_t total = 0;
    while (total < bytes.size()) {
      const ssize_t count = retry_interrupted([&] {
        return ::pread(fd_, bytes.data() + total, bytes.size() - total,
                       static_cast<off_t>(offset + total));
      });
      if (count < 0) throw io_error(errno, "could not read", path_).with("offset", offset + total);
      if (count == 0) break;
      total += static_cast<std::size_t>(count);
    }
    return total;
  }

  void allocate(std::uint64_t bytes) override {
    PGWEIR_CHECK(fd_ >= 0);
    const std::uint64_t old_size = size();
    if (bytes == 0) return;
    const int result =
        retry_interrupted([&] { return ::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)); });
    if (result == 0) return;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
      throw io_error(errno, "could not reserve space", path_).with("bytes", bytes);
    // The file system cannot reserve: write the zeros. Only after the old end, there may be WAL
    // before it.
    static constexpr std::array<std::byte, 64 * 1024> kZeros{};
    for (std::uint64_t at = old_size; at < bytes;) {
      const auto piece = std::min<std::uint64_t>(kZeros.size(), bytes - at);
      write_at(at, std::span(kZeros).first(piece));
      at += piece;
    }
  }

  void sync() override {
    PGWEIR_CHECK(fd_ >= 0);
    if (retry_interrupted([&] { return ::fdatasync(fd_); }) != 0)
      throw durability_error(errno, "could not sync file", path_);
    // A removed file syncs without an error, and is lost all the same; likewise a file in a
    // directory that was moved away. If it is still at its previous path, it has a name, and its
    // directory is found.
    found_ = inode_ && !found_at_.empty() && inode_of(AT_FDCWD, found_at_.c_str(), 0) == inode_;
    if (found_) return;
    if (named_) inode_ = inode_of(fd_, "", AT_EMPTY_PATH);
    if (inode_ && inode_->names == 0)
      throw FileRemoved(ErrorKind::durability, "a file was removed while it was in use")
          .with("path", path_)
          .hint(
              "Another process removed it, or the whole archive directory. Its WAL is lost here, "
              "and no later WAL was confirmed. Restart: WAL that the server still has is received "
              "again.");
    if (named_ && place_) place_->require_found();
  }

  void close() override {
    PGWEIR_CHECK(fd_ >= 0);
    // Never repeated: Linux has released the descriptor regardless of the result, and another
    // thread may own the number by now. An interrupted close says nothing about the data.
    if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR)
      throw durability_error(errno, "could not close file", path_);
  }

  std::uint64_t size() override {
    PGWEIR_CHECK(fd_ >= 0);
    struct stat status {};
    if (::fstat(fd_, &status) != 0) throw io_error(errno, "could not stat file", path_);
    return static_cast<std::uint64_t>(status.st_size);
  }

  void bypass_cache(bool bypass) override {
    PGWEIR_CHECK(fd_ >= 0);
    const int flags = ::fcntl(fd_, F_GETFL);
    if (flags < 0) return;
    const bool set = ::fcntl(fd_, F_SETFL, bypass ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
    bypassing_ = bypass && set;
  }

  std::uint64_t identity() override {
    PGWEIR_CHECK(fd_ >= 0);
    struct stat status {};
    if (::fstat(fd_, &status) != 0) throw io_error(errno, "could not stat file", path_);
    return static_cast<std::uint64_t>(status.st_ino);
  }

  void truncate(std::uint64_t size) override {
    PGWEIR_CHECK(fd_ >= 0);
    if (retry_interrupted([&] { return ::ftruncate(fd_, static_cast<off_t>(size)); }) != 0)
      throw io_error(errno, "could not truncate", path_).with("size", size);
  }

  bool try_lock() override {
    PGWEIR_CHECK(fd_ >= 0);
    if (retry_interrupted([&] { return ::flock(fd_, LOCK_EX | LOCK_NB); }) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    throw io_error(errno, "could not lock", path_);
  }

  std::optional<int> descriptor() const override { return fd_; }
  DirectWrites* direct_writes() override { return this; }

  /// Which file it is: that of an open one never changes.
  [[nodiscard]] std::optional<Inode> inode() const {
    return inode_ ? inode_ : inode_of(fd_, "", AT_EMPTY_PATH);
  }
  /// The last sync() has found it under this name.
  [[nodiscard]] bool found_as(const std::string& name) const { return found_ && name == name_; }
  /// It was found under this name, which sync() checks first from now on.
  void remember(const std::string& name) const {
    if (!inode_ || !place_) return;
    name_ = name;
    found_at_ = place_->whole(name);
  }

 private:
  void bound_dirty(std::uint64_t written) {
    dirty_ += written;
    if (dirty_ < dirty_limit_) return;
    dirty_ = 0;
    constexpr unsigned kHow = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE;
    // An error reported here is not reported by the next sync() again.
    if (retry_interrupted([&] { return ::sync_file_range(fd_, 0, 0, kHow); }) == 0) return;
    if (errno != ENOSYS && errno != EPERM)  // not there, or refused by a filter of system calls
      throw durability_error(errno, "could not write file to disk", path_);
    dirty_limit_ = 0;
  }

  int fd_;
  std::string path_;
  std::shared_ptr<const Place> place_;  ///< of its directory
  bool named_;
  std::uint64_t dirty_limit_;  ///< in bytes; 0: none
  std::uint64_t dirty_ = 0;    ///< bytes written since the last write to the disk was started
  bool bypassing_ = false;
  std::optional<Inode> inode_;  ///< as a sync() saw it
  bool found_ = false;          ///< by the last sync(), there:
  mutable std::string name_;
  mutable std::string found_at_;
};

FileIdentity identity_from(const struct stat& status) {
  const auto nanoseconds = [](const timespec& time) {
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .size = static_cast<std::uint64_t>(status.st_size),
          .modified_ns = nanoseconds(status.st_mtim),
          .changed_ns = nanoseconds(status.st_ctim)};
}

class PosixDirectory final : public Directory,
                             public EntryReader,
                             private Identities,
                             private UnnamedFiles,
                             private FileModes,
                             private DirtyPages {
 public:
  PosixDirectory(Descriptor fd, std::string path, mode_t file_mode)
      : fd_(std::move(fd)),
        path_(std::move(path)),
        place_(std::make_shared<const Place>(fd_.get(), path_)),
        file_mode_(file_mode) {}

  void set_file_mode(unsigned mode) override { file_mode_ = static_cast<mode_t>(mode); }
  void limit_dirty_pages(std::uint64_t bytes) override { dirty_limit_ = bytes; }
  void keep_owner() { keeps_owner_ = true; }

  const std::string& path() const override { return path_; }

  std::unique_ptr<File> create(const std::string& name) override {
    check_plain(name);
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
    Descriptor file(retry_interrupted(
        [&] { return ::openat(fd_.get(), name.c_str(), flags, file_mode_.load()); }));
    if (file.get() < 0) {
      if (errno == EEXIST)
        throw Error(ErrorKind::conflict, "file exists already").with("path", path_of(name));
      throw error("could not create file", name);
    }
    // The umask may have removed bits that the archive's other readers need.
    if (::fchmod(file.get(), file_mode_) != 0) {
      const int code = errno;
      ::unlinkat(fd_.get(), name.c_str(), 0);
      throw io_error(code, "could not set the mode of file", path_of(name));
    }
    if (!gave_to_owner(file.get())) {
      const int code = errno;
      ::unlinkat(fd_.get(), name.c_str(), 0);
      throw owner_error(code, path_of(name));
    }
    return std::make_unique<PosixFile>(std::move(file), path_of(name), place_, dirty_limit_);
  }

  std::unique_ptr<File> open(const std::string& name) override { return open_as(name, O_RDWR); }
  std::unique_ptr<File> open_for_reading(const std::string& name) override {
    return open_as(name, O_RDONLY);
  }

  void rename_no_replace(const std::string& from, const std::string& to) override {
    check_plain(from);
    check_plain(to);
    // Network and FUSE file systems may be interrupted here, too.
    if (retry_interrupted([&] {
          return ::renameat2(fd_.get(), from.c_str(), fd_.get(), to.c_str(), RENAME_NOREPLACE);
        }) == 0)
      return;
    if (errno == EINVAL || errno == ENOSYS) {
      rename_by_link(from, to);
      return;
    }
    throw rename_error(from, to);
  }

  void rename_replace(const std::string& from, const std::string& to) override {
    check_plain(from);
    check_plain(to);
    if (retry_interrupted(
            [&] { return ::renameat(fd_.get(), from.c_str(), fd_.get(), to.c_str()); }) != 0)
      throw rename_error(from, to);
  }

  void remove(const std::string& name) override {
    check_plain(name);
    if (retry_interrupted([&] { return ::unlinkat(fd_.get(), name.c_str(), 0); }) != 0 &&
        errno != ENOENT)
      throw error("could not remove file", name);
  }

  void sync() override {
    // One descriptor serves all threads, and the kernel reports an error once for each descriptor:
    // after the call that got it all later ones must fail, or another thread would take its own
    // name for durable.
    const std::lock_guard lock(sync_mutex_);
    if (sync_error_ == 0 && retry_interrupted([&] { return ::fsync(fd_.get()); }) != 0)
      sync_error_ = errno;
    if (sync_error_ == 0) {
      place_->require_found();
      return;
    }
    Error error = durability_error(sync_error_, "could not sync directory", path_);
    if (sync_error_ == EINVAL)
      error.hint("If this file system cannot sync directories at all, it cannot hold an archive.");
    throw error;
  }

  void require_found() const { place_->require_found(); }

  std::vector<DirectoryEntry> list() override {
    std::vector<DirectoryEntry> entries;
    each_entry([&](const DirectoryEntry& entry) { entries.push_back(entry); });
    return entries;
  }

  std::vector<DirectoryName> names() override {
    std::vector<DirectoryName> names;
    each_name([&](std::string_view name, DirectoryEntry::Type type) {
      names.push_back({std::string(name), type});
    });
    return names;
  }

  void each_entry(const TakeEntry& take) override {
    bool any = false;
    read([&](const dirent& found) {
      if (const auto entry = find(found.d_name)) {
        any = true;
        take(*entry);
      }
      return any;
    });
  }

  void each_name(const TakeName& take) override {
    bool any = false;
    const auto hand_out = [&](std::string_view name, DirectoryEntry::Type type) {
      any = true;
      take(name, type);
    };
    read([&](const dirent& found) {
      // Some file systems do not report the type, and symbolic links must be followed.
      if (found.d_type == DT_REG)
        hand_out(found.d_name, DirectoryEntry::Type::file);
      else if (found.d_type == DT_DIR)
        hand_out(found.d_name, DirectoryEntry::Type::directory);
      else if (const auto entry = find(found.d_name))
        hand_out(entry->name, entry->type);
      return any;
    });
  }

  /// By the descriptor: another directory may have this one's path by now.
  std::unique_ptr<NamesWatch> watch_names() override {
    return NamesWatch::begin("/proc/self/fd/" + std::to_string(fd_.get()));
  }

  /// Passes each name except "." and ".." to `take`, which returns whether it exists: a name may be
  /// read although its file was removed.
  template <typename Take>
  void read(Take take) {
    // A descriptor of its own: the position in a directory belongs to the open file description.
    const int fd = retry_interrupted(
        [&] { return ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (fd < 0) throw directory_error("could not open directory");
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd), ::closedir);
    if (!stream) {
      const int code = errno;
      ::close(fd);
      throw io_error(code, "could not read directory", path_);
    }
    bool empty = true;
    while (true) {
      errno = 0;
      const dirent* const found = ::readdir(stream.get());
      if (found == nullptr) {
        if (errno != 0) throw io_error(errno, "could not read directory", path_);
        break;
      }
      const std::string_view name = found->d_name;
      if (name == "." || name == "..") continue;
      empty = !take(*found);
    }
    // A removed directory reads as an empty one, and an archive must never seem empty by mistake.
    if (empty && removed()) throw directory_error("could not read directory");
  }

  std::optional<DirectoryEntry> find(const std::string& name) override {
    check_plain(name);
    struct stat status {};
    if (::fstatat(fd_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return std::nullopt;
      throw error("could not stat file", name);
    }
    if (S_ISLNK(status.st_mode)) {
      // A broken link: the name is still taken.
      struct stat target {};
      if (::fstatat(fd_.get(), name.c_str(), &target, 0) == 0)
        status = target;
      else if (errno != ENOENT && errno != ELOOP)
        throw error("could not stat file", name);
    }
    DirectoryEntry entry;
    entry.name = name;
    entry.modified = std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(
            std::chrono::seconds(status.st_mtim.tv_sec) +
            std::chrono::nanoseconds(status.st_mtim.tv_nsec)));
    if (S_ISREG(status.st_mode)) {
      entry.type = DirectoryEntry::Type::file;
      entry.size = static_cast<std::uint64_t>(status.st_size);
      entry.allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
    } else {
      entry.type =
          S_ISDIR(status.st_mode) ? DirectoryEntry::Type::directory : DirectoryEntry::Type::other;
    }
    return entry;
  }

  Identities* identities() override { return this; }
  UnnamedFiles* unnamed_files() override { return this; }
  FileModes* file_modes() override { return this; }
  DirtyPages* dirty_pages() override { return this; }

  std::optional<FileIdentity> of(const std::string& name) override {
    check_plain(name);
    struct stat status {};
    if (::fstatat(fd_.get(), name.c_str(), &status, 0) == 0) return identity_from(status);
    if (errno == ENOENT) return std::nullopt;
    throw error("could not stat file", name);
  }

  FileIdentity of_directory() override {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) throw directory_error("could not stat directory");
    const auto found = identity_from(status);
    return FileIdentity{.device = found.device, .inode = found.inode};
  }

  std::unique_ptr<File> create_unnamed() override {
    const int flags = O_RDWR | O_TMPFILE | O_CLOEXEC;
    Descriptor file(
        retry_interrupted([&] { return ::openat(fd_.get(), ".", flags, file_mode_.load()); }));
    if (file.get() < 0) {
      if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) return nullptr;
      throw directory_error("could not create a file without a name");
    }
    if (::fchmod(file.get(), file_mode_) != 0)
      throw io_error(errno, "could not set the mode of a file without a name", path_);
    if (!gave_to_owner(file.get())) throw owner_error(errno, path_);
    return std::make_unique<PosixFile>(std::move(file), path_of("(no name)"), place_, dirty_limit_,
                                       false);
  }

  bool give_name(File& unnamed, const std::string& name) override {
    check_plain(name);
    const auto link = "/proc/self/fd/" + std::to_string(unnamed.descriptor().value());
    if (::linkat(AT_FDCWD, link.c_str(), fd_.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0)
      return true;
    if (errno == EEXIST || errno == EXDEV || errno == ENOENT || errno == EPERM || errno == EMLINK)
      return false;
    throw error("could not give a file its name", name);
  }

  bool leads_to(const std::string& name, const File& file) override {
    check_plain(name);
    // (For each sync: a cast that searches the bases would cost more than the comparison.)
    const auto* const ours =
        typeid(file) == typeid(PosixFile) ? static_cast<const PosixFile*>(&file) : nullptr;
    if (ours != nullptr && ours->found_as(name)) return true;
    const auto wanted =
        ours != nullptr ? ours->inode() : inode_of(file.descriptor().value(), "", AT_EMPTY_PATH);
    const auto found = inode_of(fd_.get(), name.c_str(), 0);
    if (!found) return errno != ENOENT;
    if (wanted && found == wanted && ours != nullptr) ours->remember(name);
    return !wanted || found == wanted;
  }

  bool try_lock() override {
    if (retry_interrupted([&] { return ::flock(fd_.get(), LOCK_EX | LOCK_NB); }) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    throw io_error(errno, "could not lock directory", path_)
        .hint("The file system has to support flock() on directories.");
  }

  std::uint64_t free_bytes() override {
    struct statvfs status {};
    if (retry_interrupted([&] { return ::fstatvfs(fd_.get(), &status); }) != 0)
      throw io_error(errno, "could not read the free space of the file system", path_);
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
  }

 private:
  /// As keep_owner() of owner.h. False, with errno: that cannot be done.
  [[nodiscard]] bool gave_to_owner(int file) const {
    if (!keeps_owner_ || ::geteuid() != 0) return true;
    struct stat ours {};
    struct stat made {};
    if (::fstat(fd_.get(), &ours) != 0 || ::fstat(file, &made) != 0) return false;
    if (made.st_uid == ours.st_uid && made.st_gid == ours.st_gid) return true;
    return ::fchown(file, ours.st_uid, ours.st_gid) == 0;
  }
  static Error owner_error(int code, const std::string& path) {
    return system_error(code, "could not give a file to the owner of the archive directory")
        .with("path", path)
        .hint("Run the command as the user that owns the archive directory.");
  }

  static void check_plain(const std::string& name) {
    PGWEIR_CHECK(!name.empty() && name != "." && name != ".." &&
                 name.find('/') == std::string::npos && name.find('\0') == std::string::npos);
  }

  std::unique_ptr<File> open_as(const std::string& name, int access) {
    check_plain(name);
    // O_NONBLOCK: opening a FIFO of that name must not hang; without effect on files.
    Descriptor file(retry_interrupted(
        [&] { return ::openat(fd_.get(), name.c_str(), access | O_CLOEXEC | O_NONBLOCK); }));
    if (file.get() < 0) {
      if (errno == ENOENT && !removed()) return nullptr;
      throw error("could not open file", name);
    }
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) throw error("could not stat file", name);
    if (!S_ISREG(status.st_mode))
      throw Error(ErrorKind::io, "not a regular file")
          .with("path", path_of(name))
          .hint(
              "A directory, a FIFO, or a device has the name of a file of pgweir. Find out what "
              "created it, and remove it.");
    return std::make_unique<PosixFile>(std::move(file), path_of(name), place_, dirty_limit_);
  }

  /// For file systems without RENAME_NOREPLACE (NFS, some FUSE). link() rejects an existing name
  /// atomically, too. A crash between the two calls leaves both names of one file, which for a
  /// segment means complete (the .partial name is then ignored).
  void rename_by_link(const std::string& from, const std::string& to) {
    if (::linkat(fd_.get(), from.c_str(), fd_.get(), to.c_str(), 0) == 0) {
      if (::unlinkat(fd_.get(), from.c_str(), 0) != 0) throw rename_error(from, to);
      return;
    }
    // No hard links either: check, then rename. The archive's lock keeps other writers out.
    if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS) {
      if (find(to))
        errno = EEXIST;
      else if (::renameat(fd_.get(), from.c_str(), fd_.get(), to.c_str()) == 0)
        return;
    }
    throw rename_error(from, to);
  }

  /// From errno.
  Error rename_error(const std::string& from, const std::string& to) {
    if (errno == EEXIST)
      return Error(ErrorKind::conflict, "could not rename file: the new name exists already")
          .with("path", path_of(from))
          .with("new name", to);
    return error("could not rename file", from).with("new name", to);
  }

  /// From errno. A missing name may mean that the whole directory was removed.
  Error error(std::string what, const std::string& name) {
    const int code = errno;
    Error error = io_error(code, std::move(what), path_of(name));
    if (code == ENOENT && removed()) add_removed_hint(error);
    return error;
  }

  Error directory_error(std::string what) {
    if (!removed()) return io_error(errno, std::move(what), path_);
    Error error = io_error(ENOENT, std::move(what), path_);
    add_removed_hint(error);
    return error;
  }

  static void add_removed_hint(Error& error) {
    error.hint(
        "The archive directory was removed while it was in use. Restore it or create a new one, "
        "then start again.");
  }

  /// True if the directory itself has been removed under us. Keeps errno.
  [[nodiscard]] bool removed() const {
    const int code = errno;
    struct stat status {};
    const bool gone = ::fstat(fd_.get(), &status) == 0 && status.st_nlink == 0;
    errno = code;
    return gone;
  }

  Descriptor fd_;
  std::string path_;
  const std::shared_ptr<const Place> place_;
  std::atomic<mode_t> file_mode_;
  std::atomic<std::uint64_t> dirty_limit_ = 0;
  std::atomic<bool> keeps_owner_ = false;
  std::mutex sync_mutex_;
  int sync_error_ = 0;  ///< errno of the first failed sync; guarded by sync_mutex_
};

}  // namespace

void File::truncate(std::uint64_t size) {
  throw Error(ErrorKind::io, "this file cannot be truncated").with("size", size);
}

bool File::try_lock() { throw Error(ErrorKind::io, "file locks are not supported here"); }

void reserve_if_possible(File& file, std::uint64_t bytes) {
  const auto descriptor = file.descriptor();
  if (!descriptor || bytes == 0) return;
  if (retry_interrupted(
          [&] { return ::fallocate(*descriptor, 0, 0, static_cast<off_t>(bytes)); }) == 0)
    return;
  if (errno != EOPNOTSUPP && errno != ENOSYS)
    throw io_error(errno, "could not reserve space", "the file to be written").with("bytes", bytes);
}

std::unique_ptr<File> adopt_file(int descriptor, std::string path) {
  return std::make_unique<PosixFile>(Descriptor(descriptor), std::move(path), nullptr, false);
}

void keep_owner(Directory& directory) {
  if (auto* const posix = dynamic_cast<PosixDirectory*>(&directory)) posix->keep_owner();
}

void require_found(Directory& directory) {
  if (const auto* const posix = dynamic_cast<const PosixDirectory*>(&directory))
    posix->require_found();
}

std::unique_ptr<Directory> open_directory(const std::string& path, mode_t file_mode) {
  Descriptor fd(
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (fd.get() >= 0) return std::make_unique<PosixDirectory>(std::move(fd), path, file_mode);
  const int code = errno;
  Error error = io_error(code, "could not open directory", path);
  if (code == ENOENT)
    error.hint(
        "Create the directory first (as the user that runs pgweir), or check that its file system "
        "is mounted.");
  if (code == ENOTDIR) error.hint("The path names a file; an archive is a directory.");
  throw error;
}

std::unique_ptr<Directory> open_existing_directory(const std::string& path) {
  try {
    return open_directory(path);
  } catch (const Error& error) {
    if (error.system_code() != ENOENT) throw;
    throw system_error(ENOENT, "could not open directory")
        .with("path", path)
        .hint("Check the path, and that the archive's file system is mounted. " +
              what_is_nearby(path));
  }
}

std::string what_is_nearby(const std::string& path) {
  constexpr std::size_t kMost = 5;
  auto place = path;
  for (;;) {
    while (place.size() > 1 && place.back() == '/') place.pop_back();
    std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(place.empty() ? "." : place.c_str()),
                                                &::closedir);
    if (!listing) {
      const auto slash = place.rfind('/');
      if (place.empty() || place == "/" || (errno != ENOENT && errno != ENOTDIR)) return {};
      place.resize(slash == std::string::npos ? 0 : std::max<std::size_t>(slash, 1));
      continue;
    }
    std::vector<std::string> names;
    for (const dirent* entry = ::readdir(listing.get()); entry != nullptr;
         entry = ::readdir(listing.get()))
      if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    const auto named = place.empty() ? std::string("The working directory") : place;
    if (names.empty())
      return named + " exists but is empty, like a mount point whose file system is not mounted.";
    std::sort(names.begin(), names.end());
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i)
      text += (i > 0 ? ", " : "") + names[i];
    return named + " exists and contains " + text + (names.size() > kMost ? ", …." : ".");
  }
}

}  // namespace weir::io
